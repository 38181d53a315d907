// The rows in the table of a page, and the buttons that turn the pages: of one run, and of a comparison.

const byId = (id) => document.getElementById(id);
const body = document.querySelector("#rows tbody");
let shown = null;

export class Pages {
  // onTurn loads the next page (1) or the one before (-1), and returns a promise of its rows.
  constructor(onTurn) {
    this.onTurn = onTurn;
    byId("previous").addEventListener("click", () => this.turn(-1));
    byId("next").addEventListener("click", () => this.turn(1));
  }

  async turn(by) {
    await this.onTurn(by);
    byId("rows-title").scrollIntoView();
    const [previous, next] = [byId("previous"), byId("next")];
    (by < 0 ? (previous.disabled ? next : previous) : next.disabled ? previous : next).focus({ preventScroll: true });
  }
}

// A table that is shown in pages; a subclass has fetch(), and read() for one of its rows as a whole.
export class PagedTable {
  page = 0;
  rows = []; // of this page

  load(refreshed = false) { return (this.loading = this.fetch(refreshed)); }

  // Waits for the rows that were asked for last: a refresh takes the place of a load that has not ended.
  async loaded() {
    for (let seen = null; seen !== this.loading;) {
      seen = this.loading;
      await seen;
    }
  }

  // page: as in a URL, from "1".
  setPage(page = "") { this.page = /^[1-9]\d{0,8}$/.test(page) ? Number(page) - 1 : 0; }

  find() {
    this.page = 0;
    this.load();
  }

  turn(by) {
    this.page = Math.max(0, this.page + by);
    this.load();
  }
}

// Shows which of the two buttons lead somewhere.
export function offerPages(hasPrevious, hasNext) {
  byId("previous").disabled = !hasPrevious;
  byId("next").disabled = !hasNext;
  byId("pages").hidden = !hasPrevious && !hasNext;
}

// Whether someone reads or selects a row just now that would go away with these numbers of rows.
export function isInUse(numbers) {
  const focused = focusedRow();
  return byId("row").open || (focused !== undefined && !numbers.includes(Number(focused))) || isHeld(body);
}

// Whether someone selects text of an element, or presses a button in it.
export function isHeld(element) {
  const selection = getSelection();
  return element.matches(":active") || (!selection.isCollapsed && element.contains(selection.anchorNode));
}

// Exchanges the rows if they are others; the focus stays on its row.
export function showRows(kind, rows, make) {
  const text = kind + JSON.stringify(rows);
  if (shown === text) return;
  shown = text;
  const focused = focusedRow();
  body.replaceChildren(...rows.map(make));
  byId("table").hidden = !rows.length;
  if (focused !== undefined) body.querySelector(`tr[data-row="${focused}"] .open`)?.focus({ preventScroll: true });
}

const focusedRow = () => (body.contains(document.activeElement) ? document.activeElement.closest("tr").dataset.row : undefined);
