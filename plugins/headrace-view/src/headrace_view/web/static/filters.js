// The search and the filters of the rows, and the choice of a run to compare with.
import { count, element, plain } from "./text.js";

const WAIT = 150, LONGEST = 1000; // milliseconds, and characters of a search
const RANGES = [
  ["latency-from", "Latency from (s)"], ["latency-to", "Latency to (s)"], ["cost-from", "Cost from ($)"], ["cost-to", "Cost to ($)"],
];
const STATUS = /^(none|\d{1,6})$/;
const OFFERED = ["status", "code", "reason", "answer"]; // their values are offered by the run
const byId = (id) => document.getElementById(id);

export class Filters {
  // onChange is called when rows are to be found anew, with whether that was typed; onCompare when another run, or none,
  // is chosen to compare with.
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
    const search = this.field("search", what, element("input", { type: "search", autocomplete: "off", maxLength: LONGEST }));
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
    const isTyped = input.tagName !== "SELECT";
    input.addEventListener("input", () => {
      clearTimeout(this.timer);
      this.check();
      if (name === "compare") this.onCompare();
      else this.timer = setTimeout(() => this.onChange(isTyped), isTyped ? WAIT : 0);
    });
    return element("label", {}, label, input);
  }

  // Sets the fields to values by name; those that a field cannot have are left out.
  set(values) {
    for (const [name, field] of Object.entries(this.fields)) {
      const value = values[name];
      if (field.type === "number") field.value = value.trim() && Number.isFinite(Number(value)) ? String(Number(value)) : "";
      else if (field.tagName !== "SELECT") field.value = value;
      else {
        if (OFFERED.includes(name) && (name !== "status" || STATUS.test(value))) keepChoice(field, value);
        field.value = [...field.options].some((option) => option.value === value) ? value : "";
      }
    }
    this.ranges.open = RANGES.some(([name]) => this.fields[name].value);
    this.check();
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
      keepChoice(select, chosen);
      select.value = chosen;
      this.showField(name);
    }
  }

  // The number of the run to compare with; "" for none.
  get compared() { return this.fields.compare?.value ?? ""; }

  // A filter without a value to choose is not shown, and none in a comparison, which has its own choice of rows.
  showField(name) {
    const field = this.fields[name], isOffer = "values" in field.dataset;
    field.closest("label").hidden = Boolean(this.compared) || (isOffer && field.options.length < 2);
  }

  showFields() {
    this.ranges.hidden = Boolean(this.compared);
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

// Adds a choice that the run does not offer, so that it can be seen and taken back.
function keepChoice(select, value) {
  if ([...select.options].some((option) => option.value === value)) return;
  select.append(element("option", { value }, plain(value)));
}
