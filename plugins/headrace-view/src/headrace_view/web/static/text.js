// Makes elements. All text of a run is hostile: it only ever becomes the content of text nodes.

// Control characters, and those that reverse text: shown by their numbers, because they could hide something.
const INVISIBLE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/;

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
  const parts = text.split(new RegExp(`(${INVISIBLE.source})`, "u"));
  if (parts.length > MOST_PARTS) return [text.replace(new RegExp(INVISIBLE.source, "gu"), name)];
  return parts.filter(Boolean).map((part) =>
    part.length === 1 && INVISIBLE.test(part) ? element("span", { className: "invisible" }, name(part)) : part
  );
}

const name = (character) => `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;

// A bounded text of the server, {text, more, json}, with a note about what is left out.
export function whole({ text, more, json }) {
  const shown = foreign(text);
  shown.className = json ? "text code" : "text";
  const parts = [shown];
  if (more) parts.push(element("p", { className: "about" }, `${count(more)} more characters are in the output.`));
  return parts;
}

export const count = (number) => number.toLocaleString("en");

export function seconds(value) {
  if (value === null || value === undefined) return "not known";
  if (value > 0 && value < 0.1) return `${(value * 1000).toPrecision(2)} ms`;
  if (value < 10) return `${value.toFixed(2)} s`;
  if (value < 60) return `${value.toFixed(0)} s`;
  const whole = Math.round(value), pad = (number) => String(number).padStart(2, "0");
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return hours ? `${hours}:${pad(minutes)}:${pad(rest)}` : `${minutes}:${pad(rest)}`;
}

export function usd(value) {
  if (value === null || value === undefined) return "not known";
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
