// One row as a whole in a dialogue, or the rows of an item in two runs: what was sent, and what came back.
import { get } from "./api.js";
import { promptSection, section, sections } from "./row_content.js";
import { element, foreign } from "./text.js";

const READING = 1000; // milliseconds after which someone reads what is there: it stays where it is
const byId = (id) => document.getElementById(id);

export class RowDialog {
  row = null; // the number of the open row

  // table returns the table whose rows are shown; onTurn is called after another row is opened from here, onClose when
  // the dialogue is closed.
  constructor(table, onTurn, onClose) {
    this.table = table;
    this.onTurn = onTurn;
    byId("row-close").addEventListener("click", () => byId("row").close());
    byId("row-previous").addEventListener("click", () => this.turn(-1));
    byId("row-next").addEventListener("click", () => this.turn(1));
    byId("row").addEventListener("close", () => {
      if (byId("row").open) return; // again, meanwhile
      document.querySelector(`#rows tr[data-row="${this.last}"] .open`)?.focus();
      this.row = null;
      onClose();
    });
    byId("row").addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      const scrolls = event.target.closest(".scroll") || event.altKey || event.ctrlKey || event.metaKey;
      if (by && !scrolls) this.turn(by);
    });
  }

  turn(by) {
    const { rows } = this.table(), place = rows.findIndex(({ row }) => row === this.row);
    if (place < 0 || !rows[place + by]) return;
    this.open(rows[place + by].row);
    this.onTurn();
  }

  // Closes the dialogue because something else is to be shown.
  leave() {
    this.row = null;
    byId("row").close();
  }

  // Opens a row by its number, also one that is not on the page of the table.
  async open(row) {
    const { rows } = this.table(), place = rows.findIndex((each) => each.row === row);
    this.row = this.last = row;
    const content = byId("row-content"), buttons = [byId("row-previous"), byId("row-next")];
    byId("row-title").replaceChildren(place < 0 ? "Row" : foreign(rows[place].id));
    const focused = buttons.indexOf(document.activeElement);
    buttons[0].disabled = place <= 0;
    buttons[1].disabled = place < 0 || place + 1 >= rows.length;
    if (focused >= 0 && buttons[focused].disabled) content.focus(); // keys go nowhere from a disabled button
    content.ariaBusy = "true"; // the row before stays until this one is here, so that nothing flickers
    if (!byId("row").open) {
      content.replaceChildren();
      byId("row").showModal();
    }
    try {
      const found = await this.table().read(row);
      if (row !== this.row) return;
      if (place < 0) byId("row-title").replaceChildren(foreign(found[0].id.text));
      content.replaceChildren(...sections(found));
      content.scrollTop = 0;
      content.ariaBusy = "false";
      if (found[0].content) await this.showPrompts(found, content);
    } catch (error) {
      if (row !== this.row) return;
      content.replaceChildren(element("p", { className: "warning" }, foreign(error.message)));
      content.ariaBusy = "false";
    }
  }

  async showPrompts(found, content) {
    const waiting = section("Prompt", element("p", { className: "about" }, "Looking for the prompt in the input…"));
    content.prepend(waiting);
    const begun = performance.now();
    const prompts = await Promise.all(found.map(({ run, row }) =>
      get(`runs/${run}/rows/${row}/prompt`).catch(({ message }) => ({ note: message, messages: [], row: [] }))));
    if (!waiting.isConnected) return; // another row is shown
    const before = content.scrollHeight;
    waiting.replaceWith(promptSection(found, prompts));
    if (performance.now() - begun > READING) content.scrollTop += content.scrollHeight - before;
  }
}
