// Two runs of the same input beside each other: where their answers differ, with the difference marked.
import { get } from "./api.js";
import { cell, opener, statusOf } from "./rows.js";
import { count, element, foreign } from "./text.js";

const PAGE = 50, WAIT = 1000;
const CHOICES = [
  ["different", "different answers"], ["failed", "failed in one run"], ["same", "same answers"], ["all", "all in both runs"],
];
const byId = (id) => document.getElementById(id);

export class Comparison {
  constructor(rows, onOpen) {
    this.rows = rows;
    this.onOpen = onOpen;
    this.page = 0;
    this.other = null;
    byId("previous").addEventListener("click", () => this.turn(-1));
    byId("next").addEventListener("click", () => this.turn(1));
  }

  get isOn() { return this.other !== null; }

  begin(run, other, names) {
    [this.run, this.other, this.names, this.page] = [run, other, names, 0];
    this.select = element("select", { name: "show", ariaLabel: "Show rows with" }, ...CHOICES.map(([value, text]) => element("option", { value }, text)));
    this.select.addEventListener("input", () => { this.page = 0; this.load(); });
    byId("compared").replaceChildren(element("label", {}, "Show rows with", this.select));
    byId("compared").hidden = false;
    const titles = ["Id", ...names];
    document.querySelector("#rows thead").replaceChildren(
      element("tr", { role: "row" }, ...titles.map((title) => element("th", { scope: "col", role: "columnheader" }, foreign(title)))));
    byId("rows").classList.add("pairs");
    return this.load();
  }

  search() {
    if (this.searched !== this.rows.fields.search.value) this.page = 0; // it may be shown already, and turned
    return this.load();
  }

  end() {
    this.other = null;
    this.pending?.abort();
    clearTimeout(this.timer);
    byId("compared").hidden = true;
    byId("rows").classList.remove("pairs");
  }

  async load() {
    const path = `runs/${this.run}/compare/${this.other}`, show = this.select.value;
    const search = (this.searched = this.rows.fields.search.value);
    clearTimeout(this.timer);
    this.pending?.abort();
    const { signal } = (this.pending = new AbortController());
    try {
      const { pairs, whole } = await get(path, { show, search, page: this.page }, signal);
      const body = document.querySelector("#rows tbody");
      delete body.dataset.rows;
      this.rows.rows = pairs.map(({ rows }) => rows[0]); // what the dialogue shows: the rows of the first run
      body.replaceChildren(...pairs.map((pair, place) => line(pair, this.names, () => this.onOpen(place))));
      byId("previous").disabled = this.page === 0;
      byId("next").disabled = pairs.length < PAGE;
      const counts = await get(`${path}/count`, {}, signal);
      const pages = search.trim() ? "" : ` of ${count(Math.max(1, Math.ceil(counts[show] / PAGE)))}`;
      byId("count").textContent =
        `${count(counts.different)} of ${count(counts.both)} answers differ, ${count(counts.same)} are the same, ` +
        `${count(counts.failed_in_one)} failed in one run, ${count(counts.failed_in_both)} in both; ` +
        `${count(counts.only_first)} and ${count(counts.only_second)} are in one run only. ${whole ? "" : "The outputs are still being read. "}Page ${count(this.page + 1)}${pages}${search.trim() && !pairs.length ? ": the search finds nothing here" : ""}`;
      byId("next").disabled ||= !search.trim() && (this.page + 1) * PAGE >= counts[show];
      if (!whole) this.timer = setTimeout(() => this.load(), WAIT);
    } catch (error) {
      if (error.name !== "AbortError") byId("count").textContent = error.message;
    }
  }

  turn(by) {
    if (!this.isOn) return;
    this.page = Math.max(0, this.page + by);
    this.load();
  }
}

function line({ rows, marks }, names, onOpen) {
  const id = element("th", { scope: "row", role: "rowheader" }, opener(rows[0].id, onOpen));
  return element("tr", { role: "row" }, id, ...rows.map((row, side) => {
    const answer = cell("answer");
    answer.dataset.run = names[side]; // for narrow windows, where the answers are below each other
    if (row.answer) answer.append(foreign(row.answer, marks[side]));
    if (row.failed || statusOf(row) !== "succeeded") answer.append(element("p", { className: "example" }, foreign(`${statusOf(row)} ${row.message}`)));
    return answer;
  }));
}
