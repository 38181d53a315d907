// Makes elements. All text of a run is hostile: it only ever becomes the content of text nodes.

// Control characters, those that reverse text, and those without width: shown by their numbers, because they
// could hide something.
const INVISIBLE = new RegExp(
  "\\r(?!\\n)|[\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f\\u007f-\\u009f\\u061c\\u200b\\u200e\\u200f\\u2028-\\u202e" +
  "\\u2060-\\u2069\\ufeff\\u{e0000}-\\u{e007f}]", "u");
const EACH = new RegExp(INVISIBLE.source, "gu"), APART = new RegExp(`(${INVISIBLE.source})`, "u");

// Elements take long to lay out: a text with more of these characters has their numbers as text.
const MOST_PARTS = 1000;

export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// Foreign text in an element of its own direction; ranges of it may be marked as [begin, end].
export function foreign(text, marks = []) {
  const made = element("bdi");
  let at = 0;
  for (const [begin, end] of marks) {
    made.append(...visible(text.slice(at, begin)), element("mark", {}, ...visible(text.slice(begin, end))));
    at = end;
  }
  made.append(...visible(text.slice(at)));
  return made;
}

function visible(text) {
  if (!INVISIBLE.test(text)) return text ? [text] : [];
  const parts = text.split(APART);
  if (parts.length > MOST_PARTS) return [plain(text)];
  // A character that was split off has an odd place.
  return parts.map((part, n) => (n % 2 ? element("span", { className: "invisible" }, name(part)) : part)).filter((part) => part !== "");
}

// Foreign text where there can be no elements: in titles, and in choices.
export const plain = (text) => text.replace(EACH, name);

const name = (character) => `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;

// A bounded text of the server, with a note about what is left out, and what differs from another text marked.
export function whole({ text, more, json, marks }) {
  const shown = foreign(text, marks);
  shown.className = json ? "text code" : "text";
  const parts = [shown];
  if (more) parts.push(element("p", { className: "about" }, `${count(more)} more characters are in the output.`));
  return parts;
}

// Changes the text of an element only if it is another: a reader of the screen is not told of the same twice.
export function say(place, text) {
  if (place.textContent !== text) place.textContent = text;
}

const HUGE = 1e15;

const NUMBERS = new Intl.NumberFormat("en"); // making one takes long

export const count = (number) => (number < HUGE ? NUMBERS.format(number) : number.toExponential(2));

export function seconds(value) {
  if (value === null || value === undefined) return "not known";
  if (value >= HUGE) return `${value.toExponential(2)} s`;
  if (value > 0 && value < 0.1) return `${(value * 1000).toPrecision(2)} ms`;
  if (value < 9.995) return `${value.toFixed(2)} s`;
  if (value < 59.5) return `${value.toFixed(0)} s`;
  const whole = Math.round(value), pad = (number) => String(number).padStart(2, "0");
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return hours ? `${hours}:${pad(minutes)}:${pad(rest)}` : `${minutes}:${pad(rest)}`;
}

export function usd(value) {
  if (value === null || value === undefined) return "not known";
  if (value >= HUGE) return `$${value.toExponential(2)}`;
  const digits = value >= 1 ? 2 : value >= 0.01 || value === 0 ? 4 : 6;
  return `$${value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;
}

export function rate(perSecond) {
  for (const [unit, size] of [["s", 1], ["min", 60], ["h", 3600]]) {
    if (perSecond * size >= 1 || unit === "h") {
      return `${(perSecond * size).toLocaleString("en", { maximumFractionDigits: 1 })}/${unit}`;
    }
  }
}

export function time(unix) {
  return unix === null ? "" : new Date(unix * 1000).toLocaleString("sv-SE");
}

// Two times; the date of the second one is left out if it is the same.
export function period(since, until) {
  const [first, last] = [time(since), time(until)], [day, hour] = last.split(" ");
  return `${first} to ${first.startsWith(`${day} `) ? hour : last}`;
}
