// Starts the page: which runs there are, which one is shown, and what follows it.
import { follow, get } from "./api.js";
import { Comparison } from "./compare.js";
import { showControl } from "./control.js";
import { showRuns } from "./folder.js";
import { fact, showOverview } from "./overview.js";
import { RowDialog } from "./row.js";
import { Rows } from "./rows.js";
import { element } from "./text.js";

const RELOAD = 2000;
const byId = (id) => document.getElementById(id);
const { runs, whole, content, control } = await get("runs"); // whole: the output that all are shards of
let end = () => {}, current = runs[0], loadedAt = 0, timer;

const rows = new Rows((place) => dialog.open(place), (other) => {
  if (other === "") {
    comparison.end();
    rows.makeHead();
    rows.load();
  } else {
    rows.stop();
    const names = [current.name, runs.find(({ run }) => run === Number(other)).name];
    comparison.begin(current.run, Number(other), names);
  }
  rows.hideFilters(comparison.isOn);
}, () => comparison.isOn && comparison.search());
const dialog = new RowDialog(rows);
const comparison = new Comparison(rows, (place) => dialog.open(place));
const turn = rows.turn.bind(rows);
rows.turn = (by) => (comparison.isOn ? undefined : turn(by));

function leave() {
  end();
  clearTimeout(timer);
  comparison.end();
  loadedAt = 0;
}

function showAll() {
  leave();
  rows.stop();
  byId("name").textContent = whole ?? "All runs";
  byId("run").value = "all";
  for (const id of ["all-rows", "run-facts", "live"]) byId(id).hidden = true;
  byId("all-runs").hidden = false;
  if (whole) showFacts(current.run); // all shards have the same
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
  byId("state").textContent = "the server of this page does not answer";
}

function show(run) {
  leave();
  current = run;
  byId("all-runs").hidden = true;
  byId("all-rows").hidden = false;
  byId("name").textContent = run.name;
  rows.begin(run.run, runs, content);
  showFacts(run.run);
  end = follow(run.run, update, onLost);
}

function update(data) {
  showOverview(data, current.name);
  rows.offer(data);
  if (control) showControl(current.run, data.status);
  clearTimeout(timer);
  timer = setTimeout(refresh, Math.max(0, loadedAt + RELOAD - Date.now()));
}

function refresh() {
  loadedAt = Date.now();
  if (!comparison.isOn) rows.refresh();
}

const option = ({ run, name }) => element("option", { value: String(run) }, name);

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
