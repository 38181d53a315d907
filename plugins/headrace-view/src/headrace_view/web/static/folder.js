// The table of all runs: what each has done, and a button that shows it.
import { isHeld } from "./pages.js";
import { cell, named } from "./rows.js";
import { percent, stateOf } from "./overview.js";
import { count, element, foreign, rate, seconds, time, usd } from "./text.js";

const place = document.querySelector("#all-runs tbody");
const shown = [];

// Exchanges only the lines that are others, and none that someone selects or presses just now.
export function showRuns(runs, onChoose) {
  Object.values(runs).forEach((run, n) => {
    const text = JSON.stringify(run), old = place.children[n];
    if (old && (shown[n] === text || isHeld(old))) return;
    shown[n] = text;
    const made = line(run, onChoose), hadFocus = old?.contains(document.activeElement);
    if (old) old.replaceWith(made);
    else place.append(made);
    if (hadFocus) made.querySelector("button").focus({ preventScroll: true });
  });
}

function line(run, onChoose) {
  const open = element("button", { type: "button", className: "open" }, foreign(run.name));
  open.addEventListener("click", () => onChoose(run));
  const perSecond = run.status ? run.status.rate : run.rate;
  const total = run.status?.total ? ` of ${run.status.counted ? "" : "at least "}${count(run.status.total)}` : "";
  return element("tr", { role: "row" },
    element("th", { scope: "row", role: "rowheader" }, open),
    cell("", stateText(run)),
    named("First item", run.since === null ? "" : time(run.since), ""),
    named("Items", `${count(run.rows)}${total}`),
    named("Failed", `${count(run.failed)}${run.failed ? ` (${percent(run.failed / run.rows)})` : ""}`, run.failed ? "number bad" : "number"),
    named("Rate", perSecond ? rate(perSecond) : ""),
    named("Time", run.seconds ? seconds(run.seconds) : ""),
    named("Latency p50", run.latency.p50 === null ? "" : seconds(run.latency.p50)),
    named("Cost", run.cost === null ? "" : usd(run.cost)));
}

function stateText(run) {
  return run.indexed < run.size ? `${stateOf(run)}, ${Math.floor((100 * run.indexed) / run.size)}% read` : stateOf(run);
}
