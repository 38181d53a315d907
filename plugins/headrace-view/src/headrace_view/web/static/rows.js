// The table of the rows of one run, in an order and in pages.
import { get } from "./api.js";
import { isInUse, offerPages, PagedTable, showRows } from "./pages.js";
import { count, element, foreign, say, seconds, usd } from "./text.js";

const PAGE = 50;
const COLUMNS = [
  ["Id", ""], ["Status", ""], ["Answer and message", ""], ["Latency", "latency"], ["Cost", "cost"], ["Attempts", ""],
];
const ORDERS = COLUMNS.map(([, order]) => order).filter((order) => order);
const NUMBERS = new Set(["Latency", "Cost", "Attempts"]);
const byId = (id) => document.getElementById(id);

export class Rows extends PagedTable {
  // onOpen is called with the number of a row, onSort when they are asked for in another order.
  constructor(filters, onOpen, onSort) {
    super();
    this.filters = filters;
    this.onOpen = onOpen;
    this.onSort = onSort;
    this.order = "line";
    this.descending = false;
    // What was held back while someone read a row is shown when that ends.
    for (const name of ["selectionchange", "focusin"]) document.addEventListener(name, () => this.catchUp());
  }

  begin(run, content) {
    this.run = run;
    this.content = content;
    this.page = 0;
    byId("rows").classList.toggle("bare", !content);
  }

  // Sets the order and the page as a URL has them.
  set({ order, descending, page }) {
    this.order = ORDERS.includes(order) ? order : "line";
    this.descending = this.order !== "line" && descending === "1";
    this.setPage(page);
    byId("rows").classList.remove("single"); // the titles show the order
  }

  values() {
    return this.order === "line" ? {} : { order: this.order, descending: this.descending ? "1" : "" };
  }

  // All of a row, as a list of one.
  async read(row) { return [{ run: this.run, row, ...(await get(`runs/${this.run}/rows/${row}`)) }]; }

  // Comes with the first rows, so that titles and rows fit each other at any time.
  showHead() {
    const { classList } = byId("rows");
    if (classList.contains("single")) return;
    classList.remove("pairs");
    classList.add("single");
    this.makeHead();
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

  sort(order) {
    // First the greatest, then the smallest, then the order of the output.
    if (this.order !== order) [this.order, this.descending] = [order, true];
    else if (this.descending) this.descending = false;
    else this.order = "line";
    this.page = 0;
    this.makeHead();
    this.load();
    this.onSort();
  }

  // Shows the rows anew, unless someone reads or selects them just now.
  refresh() { return this.load(true); }

  catchUp() {
    if (this.held && !isInUse(this.held)) this.refresh();
  }

  async fetch(refreshed) {
    this.held = null;
    this.pending?.abort();
    const { signal } = (this.pending = new AbortController());
    const order = { order: this.order, descending: this.descending ? "1" : "", page: this.page };
    const parameters = { ...this.filters.values(), ...order }, run = this.run;
    try {
      const { rows, reachable, whole } = await get(`runs/${run}/rows`, parameters, signal);
      const numbers = rows.map(({ row }) => row);
      if (refreshed && isInUse(numbers)) this.held = numbers;
      else {
        this.rows = rows;
        this.showHead();
        showRows(`${run}`, rows, (row) => this.line(row));
        offerPages(this.page > 0, rows.length === PAGE);
      }
      const { number, exact } = await get(`runs/${run}/count`, parameters, signal);
      const last = Math.max(0, Math.ceil(Math.min(number, reachable ?? number) / PAGE) - 1);
      if (whole && !rows.length && this.page > last) { // an old link, or rows that are gone
        this.page = last;
        this.load(refreshed);
        return;
      }
      byId("count").ariaLive = refreshed ? "off" : "polite"; // what is asked for is said, not each new row
      this.showCount(number, exact, reachable, whole);
    } catch (error) {
      if (error.name !== "AbortError") say(byId("count"), error.message);
    }
  }

  showCount(number, exact, reachable, whole) {
    const found = `${exact ? "" : "more than "}${count(number)} ${number === 1 ? "row" : "rows"}`;
    const pages = Math.max(1, Math.ceil(Math.min(number, reachable ?? number) / PAGE));
    const limit = reachable !== null && number > reachable ? `; the first ${count(reachable)} in this order can be shown` : "";
    const page = number ? `, page ${count(this.page + 1)}${exact ? ` of ${count(pages)}` : ""}` : this.filters.isEmpty ? " yet" : " with this search and these filters";
    say(byId("count"), `${number ? found : "No rows"}${page}${limit}${whole ? "" : "; the output is still being read"}`);
    offerPages(this.page > 0, this.rows.length === PAGE && !(exact && this.page + 1 >= pages));
  }

  line(row) {
    const answer = cell("answer");
    if (row.answer) answer.append(foreign(row.answer));
    if (row.message) answer.append(element("p", { className: "example" }, foreign(row.message)));
    const made = element("tr", { role: "row" },
      element("th", { scope: "row", role: "rowheader" }, opener(row.id, () => this.onOpen(row.row))),
      cell(row.failed ? "bad" : "", foreign(statusOf(row))),
      answer,
      named("Latency", seconds(row.latency)),
      named("Cost", row.cost === null ? "" : usd(row.cost)),
      named("Attempts", count(row.attempts)));
    made.dataset.row = row.row;
    return made;
  }

  stop() {
    this.held = null;
    this.pending?.abort();
  }
}

// The roles are those that cells have anyway, and lose where the style makes blocks of them.
export const cell = (className, ...children) => element("td", { role: "cell", className }, ...children);

// A cell with a number, and its title for narrow windows, where the rows are below each other.
export function named(title, text, className = "number") {
  const made = cell(className, text);
  made.dataset.title = title;
  return made;
}

export function opener(id, onOpen) {
  const made = element("button", { type: "button", className: "open" }, foreign(id));
  made.addEventListener("click", onOpen);
  return made;
}

export function statusOf(row) {
  if (row.failed) return row.code ?? "failed";
  return { length: "cut off", content_filter: "filtered", refusal: "refused" }[row.reason] ?? "succeeded";
}
