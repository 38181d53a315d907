// Starts the page: which runs there are, which one is shown, and what follows it.
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
let end = () => {}, current = runs[0], latest = null, loadedAt = 0, timer;

const filters = new Filters(() => table().find(), (other) => {
  if (other === "") {
    comparison.end();
    rows.find();
  } else {
    rows.stop();
    const names = [current.name, runs.find(({ run }) => run === Number(other)).name];
    comparison.begin(current.run, Number(other), names);
  }
  filters.showFields();
});
const rows = new Rows(filters, (place) => dialog.open(place));
const dialog = new RowDialog(rows);
const comparison = new Comparison(rows, filters, (place) => dialog.open(place));
const table = () => (comparison.isOn ? comparison : rows);
new Pages((by) => table().turn(by));

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
  byId("run").value = String(run);
  show(known);
  byId("run").focus();
}

function onLost() {
  showProblem(NO_SERVER, true);
}

function show(run) {
  leave();
  current = run;
  byId("all-runs").hidden = true;
  byId("all-rows").hidden = false;
  byId("name").replaceChildren(foreign(run.name));
  filters.make(run.run, runs, content);
  rows.begin(run.run, content);
  showFacts(run.run).catch((error) => showProblem(error.message));
  end = follow(run.run, update, onLost);
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
  loadedAt = performance.now();
  filters.offer(latest);
  if (!comparison.isOn) rows.refresh();
}

const option = ({ run, name }) => element("option", { value: String(run) }, plain(name));

async function showFacts(run) {
  const facts = await get(`runs/${run}/facts`);
  if (run !== current.run || (byId("all-rows").hidden && !whole)) return;
  byId("facts").replaceChildren(...facts.flatMap(([title, text]) => fact(title, text)));
  byId("run-facts").hidden = !facts.length;
}

byId("choose").hidden = runs.length < 2;
byId("run").replaceChildren(...runs.map(option), element("option", { value: "all" }, whole ? "all shards together" : "all runs together"));
byId("run").addEventListener("input", ({ target: { value } }) =>
  value === "all" ? showAll() : show(runs.find(({ run }) => run === Number(value))));
whole ? showAll() : show(current);
