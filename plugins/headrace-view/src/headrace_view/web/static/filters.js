// The search and the filters of the rows, and the choice of a run to compare with.
import { count, element, plain } from "./text.js";

const WAIT = 150;
const RANGES = [
  ["latency-from", "Latency from (s)"], ["latency-to", "Latency to (s)"], ["cost-from", "Cost from ($)"], ["cost-to", "Cost to ($)"],
];
const byId = (id) => document.getElementById(id);

export class Filters {
  // onChange is called when rows are to be found anew, onCompare with the number of a run, or "".
  constructor(onChange, onCompare) {
    this.onChange = onChange;
    this.onCompare = onCompare;
    this.fields = {};
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
  }

  make(run, runs, content) {
    this.fields = {};
    const select = (name, label) => this.field(name, label, element("select", {}, element("option", { value: "" }, "all")));
    const number = ([name, label]) => this.field(name, label, element("input", { type: "number", min: "0", step: "any", inputMode: "decimal" }));
    const what = content ? "Search in ids, answers and messages" : "Search in ids";
    const search = this.field("search", what, element("input", { type: "search", autocomplete: "off" }));
    const outcome = select("outcome", "Outcome");
    outcome.lastChild.append(element("option", {}, "succeeded"), element("option", {}, "failed"));
    const fields = [search, outcome, select("status", "HTTP status"), select("code", "Kind of error"), select("reason", "Finish reason")];
    if (content) fields.push(select("answer", "Answer"));
    const others = runs.filter((each) => each.run !== run);
    if (others.length) {
      fields.push(this.field("compare", "Compare with", element("select", {}, element("option", { value: "" }, "no other run"),
        ...others.map((each) => element("option", { value: String(each.run) }, plain(each.name))))));
    }
    this.problem = element("p", { className: "warning", role: "alert", hidden: true });
    this.ranges = element("details", {}, element("summary", {}, "Latency and cost"),
      element("div", { className: "ranges" }, ...RANGES.map(number)), this.problem);
    byId("filters").replaceChildren(...fields, this.ranges);
  }

  field(name, label, input) {
    input.name = name;
    input.ariaLabel = label; // without the options, which are in the label too
    this.fields[name] = input;
    input.addEventListener("input", () => {
      clearTimeout(this.timer);
      this.check();
      if (name === "compare") this.onCompare(input.value);
      else this.timer = setTimeout(this.onChange, input.tagName === "SELECT" ? 0 : WAIT);
    });
    return element("label", {}, label, input);
  }

  // Says which of the numbers cannot be used.
  check() {
    const wrong = RANGES.filter(([name]) => !this.fields[name].validity.valid);
    for (const [name] of RANGES) this.fields[name].ariaInvalid = String(wrong.some(([each]) => each === name));
    this.problem.hidden = !wrong.length;
    this.problem.textContent = wrong.map(([, label]) => `${label}: must be a number from 0, and is not used.`).join(" ");
  }

  // The values to choose from, from the figures of the run; what is chosen stays.
  offer(data) {
    const offered = { status: data.statuses, code: data.codes, reason: data.reasons, answer: data.answers };
    for (const [name, values] of Object.entries(offered)) {
      const select = this.fields[name];
      if (!select || document.activeElement === select) continue;
      const text = JSON.stringify(values);
      if (select.dataset.values === text) continue;
      const chosen = select.value;
      select.dataset.values = text;
      select.replaceChildren(element("option", { value: "" }, "all"), ...values.map(([value, number]) =>
        element("option", { value: value || "none" }, `${plain(value) || "no response"} (${count(number)})`)));
      if (chosen && ![...select.options].some(({ value }) => value === chosen)) {
        select.append(element("option", { value: chosen }, plain(chosen)));
      }
      select.value = chosen;
      this.showField(name);
    }
  }

  get isComparing() { return Boolean(this.fields.compare?.value); }

  // A filter without a value to choose is not shown, and none in a comparison, which has its own choice of rows.
  showField(name) {
    const field = this.fields[name], isOffer = "values" in field.dataset;
    field.closest("label").hidden = this.isComparing || (isOffer && field.options.length < 2);
  }

  showFields() {
    this.ranges.hidden = this.isComparing;
    for (const name of Object.keys(this.fields)) if (name !== "compare" && name !== "search") this.showField(name);
  }

  get search() { return this.fields.search.value; }

  get isEmpty() { return Object.values(this.values()).every((value) => value === ""); }

  values() {
    const fields = Object.entries(this.fields).filter(([name]) => name !== "compare");
    return Object.fromEntries(fields.map(([name, field]) => [name, field.validity.valid ? field.value : ""]));
  }

  stop() { clearTimeout(this.timer); }
}
