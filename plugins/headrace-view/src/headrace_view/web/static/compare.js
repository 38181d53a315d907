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
  // onOpen is called with the number of a row of the first run, onChoice when other rows are asked for.
  constructor(filters, onOpen, onChoice) {
    super();
    this.filters = filters;
    this.onOpen = onOpen;
    this.onChoice = onChoice;
    this.other = null;
  }

  get isOn() { return this.other !== null; }

  get path() { return `runs/${this.run}/compare/${this.other}`; }

  // Compares two runs; show and page are as a URL has them.
  begin(run, other, { show, page } = {}) {
    [this.run, this.other, this.names] = [run.run, other.run, [run.name, other.name]];
    this.setPage(page);
    this.select = element("select", { name: "show", ariaLabel: "Show rows with" }, ...CHOICES.map(([value, text]) => element("option", { value }, text)));
    if (CHOICES.some(([value]) => value === show)) this.select.value = show;
    this.select.addEventListener("input", () => {
      this.find();
      this.onChoice();
    });
    byId("compared").replaceChildren(element("label", {}, "Show rows with", this.select));
    byId("compared").hidden = false;
    this.load();
  }

  values() {
    if (!this.isOn) return {};
    return { compare: String(this.other), show: this.select.value === CHOICES[0][0] ? "" : this.select.value };
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

  // All of the rows of an item: of the first run, and of the other.
  async read(row) {
    const runs = [this.run, this.other], { names } = this;
    return (await get(`${this.path}/rows/${row}`)).map((found, side) => ({ ...found, run: runs[side], name: names[side] }));
  }

  async fetch(refreshed) {
    const { path, filters: { search } } = this, show = this.select.value;
    clearTimeout(this.timer);
    this.pending?.abort();
    const { signal } = (this.pending = new AbortController());
    try {
      const { pairs, whole } = await get(path, { show, search, page: this.page }, signal);
      if (!(refreshed && isInUse(pairs.map(({ rows }) => rows[0].row)))) {
        this.rows = pairs.map(({ rows }) => rows[0]);
        this.showHead();
        showRows(`${this.run} ${this.other}`, pairs, (pair) => line(pair, this.names, () => this.onOpen(pair.rows[0].row)));
        offerPages(this.page > 0, pairs.length === PAGE);
      }
      const counts = await get(`${path}/count`, {}, signal);
      byId("count").ariaLive = refreshed ? "off" : "polite"; // as for the rows of one run
      const isSearch = search.trim() !== "", pages = Math.max(1, Math.ceil(counts[show] / PAGE));
      const last = isSearch ? 0 : pages - 1; // of a search they are not counted
      if (whole && !pairs.length && this.page > last) {
        this.page = last;
        this.load(refreshed);
        return;
      }
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
