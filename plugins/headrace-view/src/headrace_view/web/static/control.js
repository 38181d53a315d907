// The buttons that change a live run; they are there only with --control.
import { post } from "./api.js";
import { element } from "./text.js";

const LIMITS = ["max-in-flight", "budget", "requests-per-minute"];
const place = document.getElementById("control");
const said = element("p", { className: "about", role: "status" });
const state = { run: null, paused: null };

export function showControl(run, status) {
  place.hidden = !status;
  if (!status) return;
  const paused = status.state === "paused";
  if (state.run === run && state.paused === paused) return;
  if (state.run !== run) said.textContent = "";
  Object.assign(state, { run, paused });
  const send = async (change) => {
    try {
      said.textContent = (await post(run === "all" ? "all/control" : `runs/${run}/control`, change)).message;
    } catch (error) {
      said.textContent = error.message;
    }
  };
  const button = (title, act) => {
    const made = element("button", { type: "button" }, title);
    made.addEventListener("click", act);
    return made;
  };
  const limits = LIMITS.map((name) => {
    const input = element("input", { type: "text", inputMode: "decimal", autocomplete: "off", placeholder: String(status.limits?.[name] ?? "none") });
    const form = element("form", {}, element("label", {}, name, input), button(`Set ${name}`, () => set(name, input)));
    form.addEventListener("submit", (event) => { event.preventDefault(); set(name, input); });
    return form;
  });
  const set = (name, input) => {
    if (input.value.trim()) send({ type: "set", name, value: input.value.trim() });
  };
  const hadFocus = place.contains(document.activeElement);
  place.replaceChildren(
    paused ? button("Resume", () => send({ type: "resume" }))
      : button("Pause", () => send({ type: "pause" })),
    button("Stop", () => confirm("Stop the run? Its command continues it later.") && send({ type: "stop" })),
    ...limits, said);
  if (hadFocus) place.querySelector("button").focus();
}
