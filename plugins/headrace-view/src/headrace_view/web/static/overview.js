// The top of the page: figures, what a live run does now, and the charts over time.
import { ChartReader } from "./chart_reader.js";
import { InSight } from "./sight.js";
import { count, element, foreign, period, plain, rate, say, seconds, usd } from "./text.js";

const CHARTS = [["throughput", "Throughput"], ["latency", "Latency"], ["cost", "Cost"], ["failures", "Failures"]];
const NOW = {
  in_flight: "Calls in flight", waiting: "Waiting", circuits: "Open circuits", limits: "Limits", engine_status: "Engine",
};
const policy = globalThis.trustedTypes?.createPolicy("headrace-charts", { createHTML: (html) => html });
const get = (id) => document.getElementById(id);
const HOLD = 5000; // milliseconds for which a chart stays as it is after someone read a value of it
const latest = new Map(), shown = new Map(), used = new Map(), inSight = new Map(), readers = new Map();

export function showOverview(data, name) {
  const { status } = data;
  say(get("state"), stateOf(data));
  get("state").className = `state ${data.live ? "alive" : ""}`;
  say(get("when"), data.since === null ? "" : period(data.since, data.until));
  // A new title costs as much as the rest: that of a live run has no number.
  const rows = data.live ? "" : `${count(data.rows)} ${data.rows === 1 ? "row" : "rows"}, `;
  const title = `${rows}${plain(name)}: headrace view`;
  if (document.title !== title) document.title = title;
  get("indexing").hidden = data.indexed >= data.size;
  if (!get("indexing").hidden) showProgress(data);
  showProblem(data.error || damaged(data.damaged));
  showFigures(figures(data));
  get("live").hidden = !status;
  if (status) replace(get("live-facts"), Object.entries(NOW).flatMap(([key, title]) => fact(title, nowOf(status, key))));
  showCharts(data.charts);
}

function showProgress({ runs, indexed, size }) {
  const part = indexed / size;
  get("progress").value = part;
  say(get("progress-text"), `Reading ${runs ? "the outputs" : "the output"}: ${Math.floor(100 * part)}%. Figures and rows are of what is read.`);
}

// A problem that is urgent stays in sight.
export function showProblem(problem, isUrgent = false) {
  say(get("problem"), plain(problem));
  get("problem").hidden = !problem;
  get("problem").classList.toggle("urgent", isUrgent);
}

function nowOf(status, key) {
  if (key === "limits") return limits(status);
  return key === "waiting" && status.waiting === status.state ? "" : status[key];
}

const damaged = (number) => !number ? "" :
  `${count(number)} ${number === 1 ? "line is not an output line, and is" : "lines are not output lines, and are"} left out.`;

export function limits({ limits }) {
  return Object.fromEntries(Object.entries(limits ?? {}).filter(([, value]) => value !== null).map(([name, value]) =>
    [name, name === "budget" ? `$${value}` : typeof value === "number" ? count(value) : value]));
}

export function stateOf({ status, live, killed, size, rows }) {
  if (status) return status.state;
  if (live) return "running";
  if (killed) return "killed";
  return rows ? "not running" : size ? "reading" : "no rows yet";
}

function figures(data) {
  const { status, rows, succeeded, failed } = data, share = (part) => (rows ? `${percent(part / rows)} of all` : "");
  const total = status && status.total ? `of ${status.counted ? "" : "at least "}${count(status.total)}` : "";
  const left = status && status.time_left !== null ? `${seconds(status.time_left)} left` : "";
  const perSecond = status ? status.rate : data.rate;
  return [
    ["Items", count(rows), total],
    ["Succeeded", count(succeeded), share(succeeded)],
    ["Failed", count(failed), share(failed)],
    ["Retries", count(data.retries), ""],
    ["Time", data.seconds ? seconds(data.seconds) : "not known", left],
    ["Rate", perSecond ? rate(perSecond) : "not known", ""],
    ["Tokens in", count(data.tokens_in), ""],
    ["Tokens out", count(data.tokens_out), ""],
    ["Cost", usd(data.cost), data.cost !== null && data.unpriced ? `${count(data.unpriced)} without a price` : ""],
    ...["p50", "p95", "p99"].map((name) => [`Latency ${name}`, seconds(data.latency[name]), ""]),
  ];
}

export function percent(share) {
  const text = (100 * share).toFixed(1).replace(/\.0$/, "");
  if (text === "0" && share > 0) return "under 0.1%";
  return text === "100" && share < 1 ? "over 99.9%" : `${text}%`;
}

// The elements stay: only texts that are others are changed.
function showFigures(all) {
  const place = get("figures");
  if (!place.children.length) place.append(...all.map(figure));
  all.forEach(([, text, about], n) => {
    const [value, note] = place.children[n].lastChild.children;
    say(note, about);
    if (value.textContent.length !== text.length) place.children[n].style.setProperty("--length", text.length);
    say(value, text);
  });
}

const figure = ([name]) => element("div", {}, element("dt", {}, name),
  element("dd", {}, element("span", { className: "value" }), element("span", { className: "note" })));

export function fact(title, value) {
  if (value && typeof value === "object") {
    value = Object.entries(value).filter(([, each]) => each !== null).map(([key, each]) => `${key}: ${each}`).join("\n");
  }
  if (value === undefined || value === null || value === "") return [];
  return [element("div", {}, element("dt", {}, title), element("dd", {}, foreign(String(value))))];
}

function showCharts(charts) {
  const place = get("charts");
  for (const [name, title] of CHARTS) {
    latest.set(name, charts[name] ?? "");
    if (!get(`chart-${name}`)) {
      const chart = element("div", { id: `chart-${name}` });
      const use = () => used.set(name, Date.now());
      chart.addEventListener("pointermove", use);
      place.append(element("div", { className: "drawn" }, element("h3", {}, title), chart));
      readers.set(name, new ChartReader(chart, title, use));
      inSight.set(name, new InSight(chart, () => showChart(name)));
      showChart(name);
    }
    inSight.get(name).ask();
  }
}

function showChart(name) {
  const html = latest.get(name), chart = get(`chart-${name}`);
  if (shown.get(name) === html || (chart.matches(":hover, :focus") && Date.now() - used.get(name) < HOLD)) return;
  shown.set(name, html);
  const parsed = new DOMParser().parseFromString(policy ? policy.createHTML(html) : html, "text/html");
  chart.replaceChildren(...parsed.body.childNodes);
  readers.get(name).renew();
}

// Exchanges only the children whose text is another: the others may be selected just now.
function replace(place, children) {
  if (place.children.length !== children.length) {
    place.replaceChildren(...children);
    return;
  }
  children.forEach((child, n) => {
    const old = place.children[n];
    if (old.textContent !== child.textContent) old.replaceWith(child);
  });
}
