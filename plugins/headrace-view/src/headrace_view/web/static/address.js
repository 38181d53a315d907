// The view in the fragment of the URL: a reload, a link in another tab, back and forward show the same view.
// A fragment is not sent to the server. The token is in the path, which stays as it is.
const LONGEST = 1000; // characters of a value: no search uses more
const NAMES = [
  "run", "search", "outcome", "status", "code", "reason", "answer", "latency-from", "latency-to", "cost-from", "cost-to",
  "compare", "show", "order", "descending", "page", "row",
];

export class Address {
  // view returns what is shown now, as values by name; onMove shows what the URL says after back or forward.
  constructor(view, onMove) {
    this.view = view;
    this.late = null; // what is to be kept when the browser has gone back from a closed row
    addEventListener("popstate", () => {
      const { late, from } = this;
      this.late = null;
      if (late && from === location.hash) this.keep(...late);
      else onMove();
    });
  }

  // The values of the URL, which anyone may have written; "" for those that it does not have.
  read() {
    const given = new URLSearchParams(location.hash.slice(1));
    return Object.fromEntries(NAMES.map((name) => [name, (given.get(name) ?? "").slice(0, LONGEST)]));
  }

  // Writes what is shown into the URL: as a new entry of the history, or in place of the present one.
  keep(adds, isRow = false) {
    if (this.late) {
      this.late = [this.late[0] || adds, this.late[1] || isRow];
      return;
    }
    const values = new URLSearchParams(Object.entries(this.view()).filter(([, value]) => value)).toString();
    const fragment = values && `#${values}`;
    if (fragment === location.hash) return;
    const url = `${location.pathname}${location.search}${fragment}`;
    try {
      if (adds) history.pushState(isRow ? { from: location.hash } : null, "", url);
      else history.replaceState(history.state, "", url);
    } catch {
      // Browsers refuse very many changes in a short time; the next change brings all that is shown.
    }
  }

  // A row that is opened has an entry of its own.
  keepRow() { this.keep(true, true); }

  // A row that is closed leaves none: else the way back would lead through all rows that were read.
  leaveRow() {
    this.from = history.state?.from;
    if (this.from === undefined) this.keep(false);
    else {
      this.late = [false, false];
      history.back();
    }
  }
}
