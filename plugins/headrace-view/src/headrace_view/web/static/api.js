// Requests to the server of the page. All addresses are relative: the token is in the address of the page.
import { drawNothing, drawSoon } from "./pace.js";

export const NO_SERVER =
  "The server of this page does not answer. If headrace view was ended, start it again and open the URL that it prints.";

export async function get(path, parameters = {}, signal = undefined) {
  const given = Object.entries(parameters).filter(([, value]) => value !== "" && value !== null);
  const query = new URLSearchParams(given).toString();
  return read(fetch(`api/${path}${query ? `?${query}` : ""}`, { signal }));
}

export async function post(path, body) {
  return read(fetch(`api/${path}`, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  }));
}

async function read(request) {
  const response = await request.catch((error) => {
    throw error.name === "AbortError" ? error : new Error(NO_SERVER);
  });
  if (!response.ok) throw new Error((await response.text()).slice(0, 500));
  return response.json();
}

const PARTS = ["charts", "runs"]; // fields of which an event has only the members that have changed

// Follows the figures of a run, or of "all", while the page is in sight, and calls onData with all of them as
// often as they can be drawn; returns a function that ends it.
export function follow(run, onData, onLost) {
  let source, data;
  const listen = () => {
    source?.close();
    if (document.hidden) return;
    source = new EventSource(run === "all" ? "api/all/events" : `api/runs/${run}/events`);
    source.addEventListener("open", () => (data = {})); // the first event has all fields
    source.addEventListener("message", (event) => {
      data = merged(data, JSON.parse(event.data));
      drawSoon(() => onData(data), data.at_once);
    });
    source.addEventListener("error", onLost);
  };
  document.addEventListener("visibilitychange", listen);
  listen();
  return () => {
    document.removeEventListener("visibilitychange", listen);
    source?.close();
    drawNothing();
  };
}

function merged(data, changed) {
  for (const name of PARTS) if (changed[name]) changed[name] = { ...data[name], ...changed[name] };
  return { ...data, ...changed };
}
