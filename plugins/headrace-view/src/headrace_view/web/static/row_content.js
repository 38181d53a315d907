// What is shown of a row: the answer, the call, the body of the response; of a comparison, both rows beside each other.
import { count, element, foreign, seconds, time, whole } from "./text.js";

const LONG = 60;
const TITLES = ["Error", "Answers of the steps", "Votes", "Answers", "Answer", "Text of the reply", "Reasoning", "Call", "Response"];

export function section(title, ...children) {
  return element("section", {}, element("h3", {}, title), ...children);
}

// The sections of one row, or of the two of a comparison: what belongs together is beside each other.
export function sections(rows) {
  const parts = rows.map(partsOf);
  return TITLES.filter((title) => parts.some((each) => each[title]))
    .map((title) => section(title, ...beside(rows, parts.map((each) => each[title] ?? [none()]))));
}

// The prompts of the rows; of a comparison, one if both are the same.
export function promptSection(rows, prompts) {
  const isSame = prompts.every((prompt) => wordsOf(prompt) === wordsOf(prompts[0]));
  if (isSame) return section(rows.length > 1 ? "Prompt of both" : "Prompt", ...promptParts(prompts[0]));
  return section("Prompt", ...beside(rows, prompts.map(promptParts)));
}

const wordsOf = ({ note, messages, row }) => JSON.stringify([note, messages, row]);

const none = () => element("p", { className: "about" }, "none");

function beside(rows, parts) {
  if (rows.length < 2) return parts[0];
  return [element("div", { className: "beside" }, ...parts.map((children, side) => {
    const { name } = rows[side];
    return element("div", {}, element("h4", { className: "run" }, foreign(name)), ...children);
  }))];
}

function promptParts({ note, messages, row, input }) {
  const made = note ? [element("p", { className: "about" }, foreign(note))] : [];
  for (const [role, text] of messages) made.push(element("h4", {}, foreign(role)), ...whole(text));
  if (row.length) {
    const list = element("dl", { className: "facts" });
    for (const [name, text] of row) {
      list.append(element("div", {}, element("dt", {}, foreign(name)), element("dd", {}, ...whole(text))));
    }
    made.push(element("details", {}, element("summary", {}, "Row of the input, ", foreign(input)), list));
  }
  return made;
}

function partsOf(row) {
  const made = { Call: [facts(row)] };
  if (row.failed) made.Error = [element("p", { className: "bad" }, foreign(row.code))];
  if (!row.content) return made;
  if (row.failed) made.Error.push(...whole(row.message));
  if (row.steps) made["Answers of the steps"] = row.steps.flatMap(named);
  else if (row.answers) {
    if (row.votes) made.Votes = [foreign(Object.entries(row.votes).map(([name, n]) => `${name}: ${n}`).join(", "))];
    made.Answers = row.answers.flatMap((answer, n) => named([`Answer ${n + 1}`, answer]));
  } else if (row.answer.text || row.answer.json) made.Answer = whole(row.answer);
  if (row.text.text && row.text.text !== row.answer.text) made["Text of the reply"] = whole(row.text);
  if (row.reasoning.text) made.Reasoning = whole(row.reasoning);
  if (row.body?.text) {
    made.Response = [element("details", {}, element("summary", {}, "Body"), ...whole({ ...row.body, json: true }))];
  }
  return made;
}

function named([name, answer]) {
  return [element("h4", {}, foreign(name)), ...(answer.text || answer.json ? whole(answer) : [none()])];
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
    "Number of the item, from 0": row.line === null ? null : String(row.line),
    "Whole id": row.id.text.length > LONG ? row.id.text : null, // the title has the beginning
  };
  for (const [name, value] of Object.entries(values)) {
    if (value) list.append(element("div", {}, element("dt", {}, name), element("dd", {}, foreign(value))));
  }
  return list;
}
