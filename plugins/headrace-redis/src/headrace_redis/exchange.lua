-- One exchange between a process and all others: it reports its state, and books turns for its calls.
--
-- KEYS  1 lane (hash: r, t the theoretical arrival times of requests and tokens, p the end of a pause,
--         e its epoch: when it was created)
--       2 spent (hash: the total, and the spending of each member)   3 members (by their last exchange)
--       4 circuit (exists while it is open; holds the member that opened it)
-- ARGV  1 now; '' takes the server's time, the only clock that all members share; a number is for tests
--       2 member  3 µs per request, 0 for no limit  4 µs per token, 0 for no limit  5 burst (µs)
--       6 horizon (µs)  7 µs added to it for each member, so that there is a turn for each
--       8 requests and 9 tokens to refund (negative: to take)  10 pause to begin (µs)
--       11 nano-USD that this member has spent since it began  12 µs for which a member counts
--       13 the epoch of the lane that this member knows, '' for none. If it differs from the lane's epoch, the
--       server has lost the lane since then: nothing is booked, and the member reports its bookings with the
--       next exchange
--       14 … the tokens of each call to book
-- returns { spent (as text: nano-USD), members, ms for which the circuit is open, µs for which all pause,
--         µs until the next exchange is worthwhile, epoch (as text), µs since the epoch, and for each booked
--         call the µs until its slot }
local now
if ARGV[1] == '' then
    local time = redis.call('TIME')
    now = time[1] * 1000000 + time[2]
else
    now = tonumber(ARGV[1])
end
local member, interval, per_token = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local burst = tonumber(ARGV[5])

-- A member reports the sum of its spending: if it reports twice because a result was lost, it counts once.
local spent = redis.call('HGET', KEYS[2], 'total') or '0'
local own_spent = tonumber(ARGV[11])
if own_spent > 0 then
    local more = own_spent - tonumber(redis.call('HGET', KEYS[2], member) or '0')
    if more > 0 then
        redis.call('HSET', KEYS[2], member, string.format('%.0f', own_spent))
        spent = redis.call('HINCRBY', KEYS[2], 'total', string.format('%.0f', more))
    end
end

redis.call('ZADD', KEYS[3], now, member)
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - tonumber(ARGV[12]))
local members = redis.call('ZCARD', KEYS[3])
redis.call('PEXPIRE', KEYS[3], math.ceil(tonumber(ARGV[12]) / 1000))

local open = 0
local opener = redis.call('GET', KEYS[4])
if opener and opener ~= member then
    open = math.max(redis.call('PTTL', KEYS[4]), 1)
end

local kept = redis.call('HMGET', KEYS[1], 'r', 't', 'p', 'e')
local r, t, pause = tonumber(kept[1] or '0'), tonumber(kept[2] or '0'), tonumber(kept[3] or '0')
local limited = interval > 0 or per_token > 0
local epoch = kept[4] or string.format('%.0f', now)
local forgotten = limited and ARGV[13] ~= '' and ARGV[13] ~= epoch
if forgotten and not kept[4] then
    -- Earlier bookings are not known any more: start as if the burst had just been used.
    r, t = now + math.max(burst - interval, 0), now + burst
end
r = r - tonumber(ARGV[8]) * interval
t = t - tonumber(ARGV[9]) * per_token
local new_pause = tonumber(ARGV[10])
if new_pause > 0 and now + new_pause > pause then
    pause = now + new_pause
    -- No burst after the pause: from the first call on, calls are sent at the rate.
    r = math.max(r, pause + math.max(burst - interval, 0))
end

-- The generic cell rate algorithm as virtual scheduling; headrace_redis/gcra.py does the same in Python.
-- Members are counted here, because a member may not know those that joined since its last exchange.
local horizon = tonumber(ARGV[6]) + members * tonumber(ARGV[7])
local slots, wait = {}, 0
for index = 14, forgotten and 13 or #ARGV do
    local cost = tonumber(ARGV[index]) * per_token
    local slot = math.max(now, pause)
    if interval > 0 then
        slot = math.max(slot, r + interval - math.max(burst, interval))
    end
    if cost > 0 then
        slot = math.max(slot, t + cost - math.max(burst, cost))
    end
    if slot > now + horizon then
        wait = slot - now - horizon
        break
    end
    r = math.max(r, slot) + interval
    t = math.max(t, slot) + cost
    slots[#slots + 1] = slot - now
end

if limited or pause > 0 then
    redis.call('HSET', KEYS[1], 'r', string.format('%.3f', r), 't', string.format('%.3f', t),
        'p', string.format('%.3f', pause), 'e', epoch)
    redis.call('PEXPIRE', KEYS[1], math.ceil(math.max(r - now, t - now, pause - now, 0) / 1000) + 60000)
end
return {tostring(spent), members, open, math.max(math.ceil(pause - now), 0), math.ceil(wait), epoch,
    math.max(math.ceil(now - tonumber(epoch)), 0), unpack(slots)}
