// Lets what is new be drawn only so often that drawing takes a small share of the time, whatever it costs here.

const SHARE = 0.02, LEAST = 1000, MOST = 5000; // milliseconds between two drawings
let pause = LEAST, drawnAt = -Infinity, timer;

// Calls `draw`, after a pause if it is not to be at once; only the last one that waits is called.
export function drawSoon(draw, atOnce) {
  drawNothing();
  const wait = drawnAt + pause - performance.now();
  if (atOnce || wait <= 0) measured(draw);
  else timer = setTimeout(() => measured(draw), wait);
}

// Forgets what waits to be drawn.
export function drawNothing() { clearTimeout(timer); }

// The milliseconds from one drawing to the next, as things are now.
export const presentPause = () => pause;

async function measured(draw) {
  const began = drawnAt = performance.now();
  draw();
  const cost = performance.now() - began + (await frame());
  pause = Math.min(Math.max(LEAST, cost / SHARE), MOST);
}

// How long the browser takes for the next frame, in milliseconds, without the wait for it.
const frame = () => new Promise((resolve) => requestAnimationFrame(() => {
  const began = performance.now();
  setTimeout(() => resolve(performance.now() - began));
}));
