// One row whole, in a dialogue: what was sent, the answer, the attempts, the body of the response.
import { get } from "./api.js";
import { count, element, foreign, seconds, time, whole } from "./text.js";

const LONG = 60;
const READING = 1000; // milliseconds after which someone reads what is there: it stays where it is
const byId = (id) => document.getElementById(id);

export class RowDialog {
  constructor(rows) {
    this.rows = rows;
    byId("row-close").addEventListener("click", () => byId("row").close());
    byId("row-previous").addEventListener("click", () => this.open(this.place - 1));
    byId("row-next").addEventListener("click", () => this.open(this.place + 1));
    byId("row").addEventListener("close", () => {
      this.focusBack();
      this.rows.catchUp();
    });
    byId("row").addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      const scrolls = event.target.closest(".scroll") || event.altKey || event.ctrlKey || event.metaKey;
      if (by && !scrolls && this.rows.rows[this.place + by]) this.open(this.place + by);
    });
  }

  async open(place) {
    const row = this.rows.rows[place], run = this.rows.run;
    if (!row) return;
    this.place = place;
    const content = byId("row-content"), buttons = [byId("row-previous"), byId("row-next")];
    byId("row-title").replaceChildren(foreign(row.id));
    const focused = buttons.indexOf(document.activeElement);
    buttons[0].disabled = place === 0;
    buttons[1].disabled = place + 1 >= this.rows.rows.length;
    if (focused >= 0 && buttons[focused].disabled) content.focus(); // keys go nowhere from a disabled button
    content.ariaBusy = "true"; // the row before stays until this one is here, so that nothing flickers
    if (!byId("row").open) {
      content.replaceChildren();
      byId("row").showModal();
    }
    try {
      const found = await get(`runs/${run}/rows/${row.row}`);
      if (place !== this.place) return;
      content.replaceChildren(...sections(found));
      content.scrollTop = 0;
      content.ariaBusy = "false";
      if (found.content) await this.showPrompt(run, row.row, place, content);
    } catch (error) {
      if (place !== this.place) return;
      content.replaceChildren(element("p", { className: "warning" }, foreign(error.message)));
      content.ariaBusy = "false";
    }
  }

  async showPrompt(run, row, place, content) {
    const waiting = element("p", { className: "about" }, "Looking for the prompt in the input…");
    const made = section("Prompt", waiting);
    content.prepend(made);
    const begun = performance.now();
    const prompt = await get(`runs/${run}/rows/${row}/prompt`).catch(({ message }) => ({ note: message, messages: [], row: [] }));
    if (place !== this.place) return;
    const before = content.scrollHeight;
    waiting.remove();
    if (prompt.note) made.append(element("p", { className: "about" }, foreign(prompt.note)));
    for (const [role, text] of prompt.messages) made.append(element("h4", {}, foreign(role)), ...whole(text));
    if (prompt.row.length) {
      const list = element("dl", { className: "facts" });
      for (const [name, text] of prompt.row) {
        list.append(element("div", {}, element("dt", {}, foreign(name)), element("dd", {}, ...whole(text))));
      }
      made.append(element("details", {}, element("summary", {}, "Row of the input, ", foreign(prompt.input)), list));
    }
    if (performance.now() - begun > READING) content.scrollTop += content.scrollHeight - before;
  }

  focusBack() {
    document.querySelectorAll("#rows .open")[this.place]?.focus();
  }
}

function section(title, ...children) {
  return element("section", {}, element("h3", {}, title), ...children);
}

function sections(row) {
  const made = [];
  if (row.content) {
    if (row.failed) made.push(section("Error", element("p", { className: "bad" }, foreign(row.code)), ...whole(row.message)));
    if (row.steps) made.push(section("Answers of the steps", ...row.steps.flatMap(named)));
    else if (row.answers) {
      if (row.votes) made.push(section("Votes", foreign(Object.entries(row.votes).map(([name, n]) => `${name}: ${n}`).join(", "))));
      made.push(section("Answers", ...row.answers.flatMap((answer, n) => named([`Answer ${n + 1}`, answer]))));
    } else if (row.answer.text || row.answer.json) made.push(section("Answer", ...whole(row.answer)));
    if (row.text.text && row.text.text !== row.answer.text) made.push(section("Text of the reply", ...whole(row.text)));
    if (row.reasoning.text) made.push(section("Reasoning", ...whole(row.reasoning)));
  } else if (row.failed) made.push(section("Error", element("p", { className: "bad" }, foreign(row.code))));
  made.push(section("Call", facts(row)));
  if (row.content && row.body?.text) {
    made.push(section("Response", element("details", {}, element("summary", {}, "Body"), ...whole({ ...row.body, json: true }))));
  }
  return made;
}

function named([name, answer]) {
  return [element("h4", {}, foreign(name)), ...(answer.text || answer.json ? whole(answer) : [element("p", { className: "about" }, "none")])];
}

function facts(row) {
  const list = element("dl", { className: "facts" });
  const values = {
    "HTTP status": row.status === null ? "no response" : String(row.status),
    "Request id": row.request_id,
    "Finish reason": row.reason,
    "Attempts": count(row.attempts),
    "Latency": seconds(row.latency),
    "Done": time(row.done_at),
    "Cost": row.cost === null ? "not known" : `$${row.cost}`,
    "Possible further cost": row.possible_cost === null ? null : `$${row.possible_cost}`,
    "Number in the output": row.line === null ? null : String(row.line),
    "Whole id": row.id.text.length > LONG ? row.id.text : null, // the title has the beginning
  };
  for (const [name, value] of Object.entries(values)) {
    if (value) list.append(element("div", {}, element("dt", {}, name), element("dd", {}, foreign(value))));
  }
  return list;
}
