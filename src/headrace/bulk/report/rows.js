"use strict";
(() => {
  const PAGE = 50, LONG = 240;
  // Control characters and those that reverse or hide text, as everywhere in the page.
  const INVISIBLE = new RegExp(
    "\\r(?!\\n)|[\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f\\u007f-\\u009f\\u061c\\u200b\\u200e\\u200f\\u2028-\\u202e" +
    "\\u2060-\\u2069\\ufeff\\u{e0000}-\\u{e007f}]", "gu");
  const number = (character) => `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
  const rows = JSON.parse(document.getElementById("data").textContent).map(
    ([, id, status, answer, error]) => ({ id, status, answer, error, text: textOf(answer) })
  );
  const search = document.getElementById("search");
  const filter = document.getElementById("filter");
  const [previous, next] = ["previous", "next"].map((name) => document.getElementById(name));
  const body = document.querySelector("#items tbody");
  let found = rows, page = 0;

  function textOf(answer) {
    return answer === null ? "" : typeof answer === "string" ? answer : JSON.stringify(answer);
  }

  function matcher() {
    if (filter.value === "all") return () => true;
    if (filter.value === "failed") return (row) => row.error !== null;
    const [member, value] = JSON.parse(filter.value);
    const fits = (answer) =>
      member === null ? answer === value :
      answer !== null && typeof answer === "object" && Object.hasOwn(answer, member) && answer[member] === value;
    return (row) => row.error === null && [row.answer].flat().some(fits);  // a row with samples has several
  }

  function update() {
    const words = search.value.toLowerCase(), matches = matcher();
    found = rows.filter(
      (row) => matches(row) && `${row.id}\n${row.text}\n${row.error ?? ""}`.toLowerCase().includes(words)
    );
    page = 0;
    show();
  }

  function show() {
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    body.replaceChildren(...found.slice(page * PAGE, (page + 1) * PAGE).map(element));
    document.getElementById("count").textContent =
      `${found.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows, page ${page + 1} of ${pages}`;
    previous.disabled = page === 0;
    next.disabled = page + 1 >= pages;
  }

  function element(row) {
    const line = create("tr", "row"), id = create("th", "rowheader"), status = create("td", "cell");
    id.scope = "row";
    id.append(isolated(row.id));
    status.append(isolated(row.status));
    status.className = row.error === null ? "" : "bad";
    const answer = create("td", "cell");
    if (row.text) answer.append(folded(row.text));
    if (row.error !== null) {
      const error = create("p");
      error.className = "example";
      error.append(folded(row.error));
      answer.append(error);
    }
    line.append(id, status, answer);
    return line;
  }

  function create(name, role) {
    const made = document.createElement(name);
    if (role) made.setAttribute("role", role);
    return made;
  }

  function isolated(text) {
    const made = create("bdi");
    made.textContent = text.replace(INVISIBLE, number);
    return made;
  }

  function folded(text) {
    if (text.length <= LONG) return isolated(text);
    const details = create("details"), summary = create("summary");
    summary.append(isolated(`${[...text.slice(0, LONG)].slice(0, -1).join("")}…`));
    details.append(summary, isolated(text));
    return details;
  }

  function turn(by) {
    page += by;
    show();
    document.getElementById("rows").scrollIntoView();
    const button = by < 0 ? previous : next;
    if (button.disabled) (by < 0 ? next : previous).focus();
  }

  search.addEventListener("input", update);
  filter.addEventListener("change", update);
  previous.addEventListener("click", () => turn(-1));
  next.addEventListener("click", () => turn(1));
  document.getElementById("without-script").hidden = true;
  document.getElementById("browser").hidden = false;
  update();
})();
