// The values of a chart by keyboard, or by touch: a marker, and the words that a pointer shows.
import { element, say } from "./text.js";

const HINT = "Left and Right show the values.";
const told = document.getElementById("told");

export class ChartReader {
  // chart: the element that holds what the server has drawn. onUse is called when someone reads in it.
  constructor(chart, title, onUse) {
    this.chart = chart;
    this.title = title;
    this.shown = element("p", { className: "reading", hidden: true, ariaHidden: "true" }); // told has the same words
    this.at = null; // the place of the marker, as a share of the width in percent
    this.when = ""; // and its time, as the words begin
    chart.after(this.shown);
    chart.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || !this.press(event.key)) return;
      event.preventDefault();
      onUse();
    });
    chart.addEventListener("click", ({ target }) => {
      const value = this.values().find(({ place }) => place.contains(target));
      if (value) this.show(value);
    });
    chart.addEventListener("focus", () => {
      if (chart.matches(":focus-visible") && this.at === null) this.say(HINT);
    });
    chart.addEventListener("blur", () => this.end());
  }

  // Comes after each new drawing: the marker stays at its time, and nothing is told of it. If the drawing has no such
  // time any more, it stays where it is.
  renew() {
    const drawn = this.chart.querySelector("svg");
    if (drawn) this.chart.tabIndex = 0;
    else this.chart.removeAttribute("tabindex");
    this.chart.role = drawn ? "application" : null; // else a reader of the screen keeps the arrow keys
    this.chart.ariaRoleDescription = drawn ? "chart" : null;
    this.chart.ariaLabel = drawn ? `${this.title}. ${drawn.ariaLabel} ${HINT}` : null;
    if (this.at === null) return;
    const values = this.values(), distance = ({ at }) => Math.abs(at - this.at);
    const same = values.find(({ words }) => timeOf(words) === this.when);
    if (!values.length) this.end();
    else this.show(same ?? values.reduce((best, each) => (distance(each) < distance(best) ? each : best)), false);
  }

  // Whether the key is one of those that move the marker, or end the reading.
  press(key) {
    const values = this.values(), last = values.length - 1;
    if (key === "Escape") return this.end();
    const now = this.at === null ? null : values.findIndex(({ at }) => at === this.at);
    const next = { ArrowLeft: (now ?? last + 1) - 1, ArrowRight: (now ?? -1) + 1, Home: 0, End: last }[key];
    if (next === undefined || last < 0) return false;
    this.show(values[Math.min(Math.max(next, 0), last)]);
    return true;
  }

  // What has words for a pointer and is drawn, in order of time.
  values() {
    return [...this.chart.querySelectorAll("title")].map((title) => {
      const place = title.parentElement, drawn = place.matches("rect") ? place : place.querySelector("rect");
      const share = (name) => parseFloat(drawn?.getAttribute(name));
      return { place, words: title.textContent, at: share("x") + share("width") / 2 };
    }).filter(({ at }) => !Number.isNaN(at));
  }

  show({ at, words }, isTold = true) {
    this.at = at;
    this.when = timeOf(words);
    this.marker?.remove();
    this.marker = document.createElementNS("http://www.w3.org/2000/svg", "line");
    const foot = this.chart.querySelector(".axis").getAttribute("y1"); // the first axis is at zero
    for (const [name, value] of Object.entries({ class: "marker", x1: `${at}%`, x2: `${at}%`, y1: 0, y2: foot })) {
      this.marker.setAttribute(name, value);
    }
    this.chart.querySelector("svg").append(this.marker);
    this.say(words, isTold);
    if (isTold) say(told, words);
  }

  say(words, isAsked = true) {
    this.shown.textContent = words;
    this.shown.hidden = false;
    if (isAsked) this.shown.scrollIntoView({ block: "nearest" }); // on a phone, it may be below the window
  }

  // Returns whether there was something to end.
  end() {
    const isShown = !this.shown.hidden;
    this.at = null;
    this.marker?.remove();
    this.shown.hidden = true;
    say(told, "");
    return isShown;
  }
}

const timeOf = (words) => words.split(": ")[0];
