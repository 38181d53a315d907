// Two runs of the same input beside each other: where their answers differ, with the difference marked.
import { get } from "./api.js";
import { isInUse, offerPages, PagedTable, showRows } from "./pages.js";
import { cell, opener, statusOf } from "./rows.js";
import { count, element, foreign, plain, say } from "./text.js";

const PAGE = 50, WAIT = 1000;
const CHOICES = [
  ["different", "different answers"], ["failed", "failed in one run"], ["same", "same answers"], ["all", "all in both runs"],
];
const byId = (id) => document.getElementById(id);

export class Comparison extends PagedTable {
  constructor(rows, filters, onOpen) {
    super();
    this.rows = rows;
    this.filters = filters;
    this.onOpen = onOpen;
    this.other = null;
  }

  get isOn() { return this.other !== null; }

  begin(run, other, names) {
    [this.run, this.other, this.names, this.page] = [run, other, names, 0];
    this.select = element("select", { name: "show", ariaLabel: "Show rows with" }, ...CHOICES.map(([value, text]) => element("option", { value }, text)));
    this.select.addEventListener("input", () => this.find());
    byId("compared").replaceChildren(element("label", {}, "Show rows with", this.select));
    byId("compared").hidden = false;
    return this.load();
  }

  showHead() {
    byId("rows").classList.remove("single");
    byId("rows").classList.add("pairs");
    const titles = ["Id", ...this.names];
    document.querySelector("#rows thead").replaceChildren(
      element("tr", { role: "row" }, ...titles.map((title) => element("th", { scope: "col", role: "columnheader" }, foreign(title)))));
  }

  end() {
    this.other = null;
    this.pending?.abort();
    clearTimeout(this.timer);
    byId("compared").hidden = true;
  }

  async load(refreshed = false) {
    const path = `runs/${this.run}/compare/${this.other}`, show = this.select.value, { search } = this.filters;
    clearTimeout(this.timer);
    this.pending?.abort();
    const { signal } = (this.pending = new AbortController());
    try {
      const { pairs, whole } = await get(path, { show, search, page: this.page }, signal);
      if (!(refreshed && isInUse(pairs.map(({ rows }) => rows[0].row)))) {
        this.rows.rows = pairs.map(({ rows }) => rows[0]); // what the dialogue shows: the rows of the first run
        this.showHead();
        showRows(`${this.run} ${this.other}`, pairs, (pair, place) => line(pair, this.names, () => this.onOpen(place)));
        offerPages(this.page > 0, pairs.length === PAGE);
      }
      const counts = await get(`${path}/count`, {}, signal);
      const isSearch = search.trim() !== "", pages = Math.max(1, Math.ceil(counts[show] / PAGE));
      const page = pairs.length ? ` Page ${count(this.page + 1)}${isSearch ? "" : ` of ${count(pages)}`}.`
        : isSearch ? " The search finds no rows here." : " No rows to show here.";
      say(byId("count"), `${summary(counts, this.names.map(plain))}${whole ? "" : " The outputs are still being read."}${page}`);
      offerPages(this.page > 0, pairs.length === PAGE && (isSearch || this.page + 1 < pages));
      if (!whole) this.timer = setTimeout(() => this.load(true), WAIT);
    } catch (error) {
      if (error.name !== "AbortError") say(byId("count"), error.message);
    }
  }
}

function summary(counts, names) {
  const alone = [counts.only_first, counts.only_second].map((number, side) => number ? ` ${count(number)} ${number === 1 ? "row is" : "rows are"} only in ${names[side]}.` : "");
  return `${count(counts.different)} of ${count(counts.both)} answers differ, ${count(counts.same)} are the same, ` +
    `${count(counts.failed_in_one)} failed in one run, ${count(counts.failed_in_both)} in both.${alone.join("")}`;
}

function line({ rows, marks }, names, onOpen) {
  const id = element("th", { scope: "row", role: "rowheader" }, opener(rows[0].id, onOpen));
  const hasBoth = !rows.some(({ failed }) => failed); // else all would be marked
  const made = element("tr", { role: "row" }, id, ...rows.map((row, side) => {
    const answer = cell("answer"), status = statusOf(row);
    answer.dataset.run = plain(names[side]); // for narrow windows, where the answers are below each other
    if (row.answer) answer.append(foreign(row.answer, hasBoth ? marks[side] : []));
    if (status !== "succeeded") answer.append(element("p", { className: "example" }, element("span", { className: "bad" }, foreign(status)), " ", foreign(row.message)));
    return answer;
  }));
  made.dataset.row = rows[0].row;
  return made;
}
