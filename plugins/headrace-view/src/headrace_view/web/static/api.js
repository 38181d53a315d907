// Requests to the server of the page. All addresses are relative: the token is in the address of the page.

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

// Follows the figures of a run, or of "all"; returns a function that ends it.
export function follow(run, onData, onLost) {
  const source = new EventSource(run === "all" ? "api/all/events" : `api/runs/${run}/events`);
  source.addEventListener("message", (event) => onData(JSON.parse(event.data)));
  source.addEventListener("error", onLost);
  return () => source.close();
}
