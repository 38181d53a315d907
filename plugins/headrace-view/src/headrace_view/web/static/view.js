// Starts the page: which runs there are, which one is shown, and what follows it.
import { Address } from "./address.js";
import { follow, get, NO_SERVER } from "./api.js";
import { Comparison } from "./compare.js";
import { showControl } from "./control.js";
import { Filters } from "./filters.js";
import { showRuns } from "./folder.js";
import { fact, showOverview, showProblem } from "./overview.js";
import { Pages } from "./pages.js";
import { RowDialog } from "./row.js";
import { presentPause } from "./pace.js";
import { Rows } from "./rows.js";
import { InSight } from "./sight.js";
import { element, foreign, plain } from "./text.js";

const RELOAD = 2; // rows are loaded so many times more rarely than figures are drawn
const byId = (id) => document.getElementById(id);
// whole: the output that all runs are shards of
const { runs, whole, content, control } = await get("runs").catch((error) => {
  showProblem(error.message);
  throw error;
});
const first = whole ? "all" : String(runs[0].run);
let end = () => {}, current = runs[0], place = null, latest = null, loadedAt = 0, timer, moves = 0; // place: "all", or the number of a run

const address = new Address(view, restore);
const filters = new Filters((isTyped) => {
  table().find();
  chosen(!isTyped);
}, () => {
  showTable();
  chosen();
});
const rows = new Rows(filters, openRow, () => chosen()), comparison = new Comparison(filters, openRow, () => chosen());
const dialog = new RowDialog(table, () => address.keep(false), () => {
  address.leaveRow();
  rows.catchUp();
});
new Pages((by) => {
  table().turn(by);
  return chosen();
});

function table() { return comparison.isOn ? comparison : rows; }

// What is shown now, as the URL has it: without what is as at the beginning.
function view() {
  const run = place === first ? "" : place;
  if (place === "all") return { run };
  const page = table().page ? String(table().page + 1) : "";
  return { run, ...filters.values(), ...comparison.values(), ...rows.values(), page, row: String(dialog.row ?? "") };
}

// Shows what the URL says, as far as there is such a thing.
async function restore() {
  const wanted = address.read(), shown = view(), move = (moves += 1);
  const isKnown = !wanted.run || (wanted.run === "all" ? whole || runs.length > 1 : runOf(wanted.run));
  const run = isKnown ? wanted.run || first : first;
  filters.stop();
  if (place === null || Object.keys(wanted).some((name) => name !== "row" && wanted[name] !== (shown[name] ?? ""))) {
    dialog.leave();
    if (run === "all") showAll();
    else if (run === place) showTable(wanted);
    else show(runOf(run), wanted);
    await table().loaded();
    if (move !== moves) return; // someone has chosen something else meanwhile
  }
  if (run === "all" || !/^\d{1,15}$/.test(wanted.row)) dialog.leave();
  else if (wanted.row !== String(dialog.row)) dialog.open(Number(wanted.row));
  byId("stale").hidden = isKnown && (run === "all" || wanted.compare === filters.compared);
  address.keep(false);
}

// Keeps in the URL what someone has chosen, as a new entry of the history unless it was typed.
async function chosen(adds = true) {
  moves += 1;
  byId("stale").hidden = true;
  address.keep(adds);
  await table().loaded();
  address.keep(false); // a page that there is not is another one now
}

function openRow(row) {
  moves += 1;
  dialog.open(row);
  address.keepRow();
}

function leave() {
  end();
  clearTimeout(timer);
  comparison.end();
  filters.stop();
  lower.forget();
  latest = null;
  loadedAt = 0;
}

function showAll() {
  leave();
  place = "all";
  rows.stop();
  byId("name").replaceChildren(whole ? foreign(whole) : "All runs");
  byId("run").value = "all";
  for (const id of ["all-rows", "run-facts", "live"]) byId(id).hidden = true;
  byId("all-runs").hidden = false;
  if (whole) showFacts(current.run).catch((error) => showProblem(error.message)); // all shards have the same
  end = follow("all", (data) => {
    showOverview(data, whole ?? "all runs");
    showRuns(data.runs, choose);
    if (control) showControl("all", data.status);
  }, onLost);
}

function choose({ run, name }) {
  let known = runs.find((each) => each.run === run);
  if (!known) { // its output came into the folder later
    runs.push(known = { run, name });
    byId("run").append(option(known));
  }
  show(known);
  chosen();
  byId("run").focus();
}

function onLost() {
  showProblem(NO_SERVER, true);
}

// wanted: what of it is to be shown, as in a URL.
function show(run, wanted = undefined) {
  leave();
  [current, place] = [run, String(run.run)];
  byId("run").value = place;
  byId("all-runs").hidden = true;
  byId("all-rows").hidden = false;
  byId("name").replaceChildren(foreign(run.name));
  filters.make(run.run, runs, content);
  rows.begin(run.run, content);
  showTable(wanted);
  showFacts(run.run).catch((error) => showProblem(error.message));
  end = follow(run.run, update, onLost);
}

// Shows the rows of the run, or the comparison with another.
function showTable(wanted = undefined) {
  if (wanted) {
    filters.set(wanted);
    rows.set(wanted);
  }
  filters.showFields();
  if (filters.compared) {
    rows.stop();
    comparison.begin(current, runOf(filters.compared), wanted);
    return;
  }
  comparison.end();
  if (wanted) rows.load();
  else rows.find();
}

function update(data) {
  showOverview(data, current.name);
  if (control) showControl(current.run, data.status);
  if (!latest) filters.offer(data);
  latest = data;
  lower.ask();
}

const lower = new InSight(byId("all-rows"), () => {
  clearTimeout(timer);
  timer = setTimeout(refresh, loadedAt + RELOAD * presentPause() - performance.now());
});

function refresh() {
  if (lower.waits()) return; // it was due when the rows were still in sight
  loadedAt = performance.now();
  filters.offer(latest);
  table().load(true);
}

const runOf = (number) => runs.find(({ run }) => String(run) === number);
const option = ({ run, name }) => element("option", { value: String(run) }, plain(name));

async function showFacts(run) {
  const facts = await get(`runs/${run}/facts`);
  if (run !== current.run || (byId("all-rows").hidden && !whole)) return;
  byId("facts").replaceChildren(...facts.flatMap(([title, text]) => fact(title, text)));
  byId("run-facts").hidden = !facts.length;
}

byId("choose").hidden = runs.length < 2;
byId("run").replaceChildren(...runs.map(option), element("option", { value: "all" }, whole ? "all shards together" : "all runs together"));
byId("run").addEventListener("input", ({ target: { value } }) => {
  if (value === "all") showAll();
  else show(runOf(value));
  chosen();
});
restore();
