// Starts the page: which runs there are, which one is shown, and what follows it.
import { follow, get } from "./api.js";
import { Comparison } from "./compare.js";
import { showControl } from "./control.js";
import { fact, showOverview } from "./overview.js";
import { RowDialog } from "./row.js";
import { Rows } from "./rows.js";
import { element } from "./text.js";

const RELOAD = 2000;
const byId = (id) => document.getElementById(id);
const { runs, content, control } = await get("runs");
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
});
const dialog = new RowDialog(rows);
const comparison = new Comparison(rows, (place) => dialog.open(place));
const turn = rows.turn.bind(rows);
rows.turn = (by) => (comparison.isOn ? undefined : turn(by));

function show(run) {
  end();
  comparison.end();
  current = run;
  loadedAt = 0;
  byId("name").textContent = run.name;
  rows.begin(run.run, runs, content);
  showFacts(run.run);
  end = follow(run.run, update, () => {
    byId("state").textContent = "the server of this page does not answer";
  });
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

async function showFacts(run) {
  const facts = await get(`runs/${run}/facts`);
  byId("facts").replaceChildren(...facts.flatMap(([title, text]) => fact(title, text)));
  byId("run-facts").hidden = !facts.length;
}

byId("choose").hidden = runs.length < 2;
byId("run").replaceChildren(...runs.map(({ run, name }) => element("option", { value: String(run) }, name)));
byId("run").addEventListener("input", (event) => show(runs.find(({ run }) => run === Number(event.target.value))));
show(current);
