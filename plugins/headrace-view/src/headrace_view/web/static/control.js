// The buttons that change a live run; they are there only with --control.
import { post } from "./api.js";
import { limits } from "./overview.js";
import { element, plain, say } from "./text.js";

const LIMITS = ["max-in-flight", "budget", "requests-per-minute"];
const place = document.getElementById("control");
const said = element("p", { role: "status" });
const pause = button("Pause", () => send({ type: isPaused() ? "resume" : "pause" }));
const stop = button("Stop", () => confirm("Stop the run? Its command continues it later.") && send({ type: "stop" }));
const inputs = new Map(LIMITS.map((name) =>
  [name, element("input", { type: "text", inputMode: "decimal", autocomplete: "off" })]));
let shown = null;

place.append(pause, stop, element("div", { className: "limits" }, ...[...inputs].map(([name, input]) => {
  const form = element("form", {}, element("label", {}, name, input), element("button", { ariaLabel: `Set ${name}` }, "Set"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (input.value.trim()) send({ type: "set", name, value: input.value.trim() }, input);
  });
  return form;
})), said);

// What someone types just now stays: only the words and the present limits are changed.
export function showControl(run, status) {
  place.hidden = !status;
  if (!status) return;
  if (shown !== run) {
    tell("", false);
    for (const input of inputs.values()) input.value = "";
  }
  shown = run;
  say(pause, status.state === "paused" ? "Resume" : "Pause");
  for (const [name, input] of inputs) input.placeholder = limits(status)[name] ?? "no limit";
}

const isPaused = () => pause.textContent === "Resume";

async function send(change, input = null) {
  const run = shown;
  try {
    const { message } = await post(run === "all" ? "all/control" : `runs/${run}/control`, change);
    if (run !== shown) return;
    tell(message, false, input);
    if (input) input.value = "";
  } catch (error) {
    if (run === shown) tell(error.message, true, input);
  }
}

function tell(text, isRefused, input = null) {
  say(said, plain(text));
  said.className = isRefused ? "warning" : "about";
  for (const each of inputs.values()) each.ariaInvalid = String(isRefused && each === input);
}

function button(title, act) {
  const made = element("button", { type: "button" }, title);
  made.addEventListener("click", act);
  return made;
}
