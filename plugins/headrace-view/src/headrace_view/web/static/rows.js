// The table of the rows: search, filters, order and pages.
import { get } from "./api.js";
import { count, element, foreign, seconds, usd } from "./text.js";

const PAGE = 50, WAIT = 150;
const COLUMNS = [
  ["Id", ""], ["Status", ""], ["Answer and message", ""], ["Latency", "latency"], ["Cost", "cost"], ["Attempts", ""],
];
const NUMBERS = new Set(["Latency", "Cost", "Attempts"]);
const byId = (id) => document.getElementById(id);

export class Rows {
  // onSearch is for a comparison: it returns false if there is none.
  constructor(onOpen, onCompare, onSearch) {
    this.onOpen = onOpen;
    this.onCompare = onCompare;
    this.onSearch = onSearch;
    this.page = 0;
    this.order = "line";
    this.descending = false;
    this.rows = [];
    this.fields = {};
    byId("previous").addEventListener("click", () => this.turn(-1));
    byId("next").addEventListener("click", () => this.turn(1));
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
  }

  begin(run, runs, content) {
    this.run = run;
    this.content = content;
    this.page = 0;
    this.makeFilters(runs);
    this.makeHead();
    return this.load();
  }

  makeFilters(runs) {
    const select = (name, label) => this.field(name, label, element("select", {}, element("option", { value: "" }, "all")));
    const number = (name, label) =>
      this.field(name, label, element("input", { type: "number", min: "0", step: "any", inputMode: "decimal" }));
    const what = this.content ? "Search in ids, answers and messages" : "Search in ids";
    const fields = [this.field("search", what, element("input", { type: "search", autocomplete: "off" }))];
    const outcome = select("outcome", "Outcome");
    outcome.lastChild.append(element("option", {}, "succeeded"), element("option", {}, "failed"));
    fields.push(outcome, select("status", "HTTP status"), select("code", "Kind of error"), select("reason", "Finish reason"));
    if (this.content) fields.push(select("answer", "Answer"));
    this.ranges = element("details", {}, element("summary", {}, "Latency and cost"), element("div", { className: "ranges" },
      number("latency-from", "Latency from (s)"), number("latency-to", "Latency to (s)"),
      number("cost-from", "Cost from ($)"), number("cost-to", "Cost to ($)")));
    const others = runs.filter(({ run }) => run !== this.run);
    if (others.length) {
      const compare = this.field("compare", "Compare with", element("select", {}, element("option", { value: "" }, "no other run"),
        ...others.map(({ run, name }) => element("option", { value: String(run) }, name))));
      fields.push(compare);
    }
    fields.push(this.ranges);
    byId("filters").replaceChildren(...fields);
  }

  field(name, label, input) {
    input.name = name;
    input.ariaLabel = label; // without the options, which are in the label too
    this.fields[name] = input;
    input.addEventListener("input", () => {
      clearTimeout(this.timer);
      this.page = 0;
      if (name === "compare") this.onCompare(input.value);
      else this.timer = setTimeout(() => this.onSearch() || this.load(), input.tagName === "SELECT" ? 0 : WAIT);
    });
    return element("label", {}, label, input);
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
        element("option", { value: value || "none" }, `${value || "no response"} (${count(number)})`)));
      if (chosen && ![...select.options].some(({ value }) => value === chosen)) {
        select.append(element("option", { value: chosen }, chosen));
      }
      select.value = chosen;
      select.closest("label").hidden = (!values.length && !chosen) || Boolean(this.fields.compare?.value);
    }
  }

  makeHead() {
    const cells = COLUMNS.map(([title, order]) => {
      const cell = element("th", { scope: "col", role: "columnheader", className: NUMBERS.has(title) ? "number" : "" });
      if (!order) cell.append(title);
      else {
        const button = element("button", { type: "button", className: "sort" }, title);
        button.addEventListener("click", () => this.sort(order));
        cell.append(button);
        if (this.order === order) cell.setAttribute("aria-sort", this.descending ? "descending" : "ascending");
      }
      return cell;
    });
    const focused = document.activeElement?.classList.contains("sort") ? document.activeElement.textContent : null;
    const head = document.querySelector("#rows thead");
    head.replaceChildren(element("tr", { role: "row" }, ...cells));
    if (focused) [...head.querySelectorAll("button")].find((each) => each.textContent === focused)?.focus();
  }

  // A comparison has its own choice of rows.
  hideFilters(hidden) {
    this.ranges.hidden = hidden;
    for (const [name, field] of Object.entries(this.fields)) {
      if (name !== "compare" && name !== "search") field.closest("label").hidden = hidden;
    }
  }

  sort(order) {
    // First the greatest, then the smallest, then the order of the output.
    if (this.order !== order) [this.order, this.descending] = [order, true];
    else if (this.descending) this.descending = false;
    else this.order = "line";
    this.page = 0;
    this.makeHead();
    this.load();
  }

  parameters() {
    const found = { order: this.order, descending: this.descending ? "1" : "", page: this.page };
    for (const [name, field] of Object.entries(this.fields)) {
      if (name !== "compare") found[name] = field.validity.valid ? field.value : "";
    }
    return found;
  }

  // Shows the rows anew, unless someone reads or selects them just now.
  refresh() { return this.load(true); }

  isInUse() {
    const body = document.querySelector("#rows tbody"), selection = getSelection();
    return body.contains(document.activeElement) || byId("row").open ||
      (!selection.isCollapsed && body.contains(selection.anchorNode));
  }

  async load(refreshed = false) {
    this.pending?.abort();
    const { signal } = (this.pending = new AbortController());
    const parameters = this.parameters(), run = this.run;
    try {
      const { rows, reachable, whole } = await get(`runs/${run}/rows`, parameters, signal);
      if (!(refreshed && this.isInUse())) {
        this.rows = rows;
        this.show();
      }
      const { number, exact } = await get(`runs/${run}/count`, parameters, signal);
      this.showCount(number, exact, reachable, whole);
    } catch (error) {
      if (error.name !== "AbortError") byId("count").textContent = error.message;
    }
  }

  show() {
    const text = JSON.stringify(this.rows), body = document.querySelector("#rows tbody");
    if (body.dataset.rows !== text) body.replaceChildren(...this.rows.map((row, place) => this.line(row, place)));
    body.dataset.rows = text;
    byId("previous").disabled = this.page === 0;
    byId("next").disabled = this.rows.length < PAGE;
  }

  showCount(number, exact, reachable, whole) {
    const found = `${exact ? "" : "more than "}${count(number)} ${number === 1 ? "row" : "rows"}`;
    const pages = Math.max(1, Math.ceil(Math.min(number, reachable ?? number) / PAGE));
    const limit = reachable !== null && number > reachable ? `; the first ${count(reachable)} in this order can be shown` : "";
    byId("count").textContent = `${found}, page ${count(this.page + 1)}${exact ? ` of ${count(pages)}` : ""}${limit}${whole ? "" : "; the output is still being read"}`;
    byId("next").disabled ||= exact && this.page + 1 >= pages;
  }

  line(row, place) {
    const answer = cell("answer");
    if (row.answer) answer.append(foreign(row.answer));
    if (row.message) answer.append(element("p", { className: "example" }, foreign(row.message)));
    return element("tr", { role: "row" },
      element("th", { scope: "row", role: "rowheader" }, opener(row.id, () => this.onOpen(place))),
      cell(row.failed ? "bad" : "", foreign(statusOf(row))),
      answer,
      cell("number", seconds(row.latency)),
      cell("number", row.cost === null ? "" : usd(row.cost)),
      cell("number", count(row.attempts)));
  }

  stop() {
    clearTimeout(this.timer);
    this.pending?.abort();
  }

  async turn(by) {
    this.page = Math.max(0, this.page + by);
    await this.load();
    byId("rows-title").scrollIntoView();
    const [previous, next] = [byId("previous"), byId("next")];
    (by < 0 ? (previous.disabled ? next : previous) : next.disabled ? previous : next).focus({ preventScroll: true });
  }
}

// The roles are those that cells have anyway, and lose where the style makes blocks of them.
export const cell = (className, ...children) => element("td", { role: "cell", className }, ...children);

export function opener(id, onOpen) {
  const made = element("button", { type: "button", className: "open" }, foreign(id));
  made.addEventListener("click", onOpen);
  return made;
}

export function statusOf(row) {
  if (row.failed) return row.code ?? "failed";
  return { length: "cut off", content_filter: "filtered", refusal: "refused" }[row.reason] ?? "succeeded";
}
