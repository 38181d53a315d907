"""Chance that is the same every time: numbers drawn from a hash of the seed and what they are for."""

from hashlib import blake2b


def fingerprint(seed: int, *parts: bytes) -> bytes:
    """32 bytes that depend on the seed, on each part and on where one part ends, and on nothing else."""
    hashed = blake2b(str(seed).encode(), digest_size=32)
    for part in parts:
        hashed.update(len(part).to_bytes(8, "big"))
        hashed.update(part)
    return hashed.digest()


def fraction(chance: bytes) -> float:
    """The first eight bytes as a number from 0 up to, but not including, 1."""
    # 53 bits fit a float exactly; 64 would round up to 1.0 now and then.
    return (int.from_bytes(chance[:8], "big") >> 11) / (1 << 53)
