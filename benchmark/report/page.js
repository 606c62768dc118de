"use strict";

// Sorting: each head of a leaderboard becomes a button; what is absent stays at the end.
const read = (cell) => {
  const text = cell.dataset.sort;
  return text === "" ? null : Number.isNaN(Number(text)) ? text : Number(text);
};

const compare = (a, b) =>
  typeof a === "number" && typeof b === "number" ? a - b
    : String(a).localeCompare(String(b), "en", { numeric: true });

const sort = (table, head) => {
  const first = head.dataset.better === "higher" ? "descending" : "ascending";
  const other = first === "ascending" ? "descending" : "ascending";
  const order = head.getAttribute("aria-sort") === first ? other : first;
  for (const h of head.parentElement.cells) h.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const rows = [...table.tBodies[0].rows].map((row) => [row, read(row.cells[head.cellIndex])]);
  rows.sort(([, a], [, b]) => (a === null) - (b === null) || (a === null ? 0 : sign * compare(a, b)));
  table.tBodies[0].append(...rows.map(([row]) => row));
};

for (const table of document.querySelectorAll("table.leaderboard")) {
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(head.firstChild);
    head.prepend(button);
    button.addEventListener("click", () => {
      sort(table, head);
      say(`Sorted by ${button.textContent.trim()}, ${head.getAttribute("aria-sort")}.`);
    });
  }
}

// Filtering: by data set and backbone (whole boards), method (rows) and metric (columns).
const form = document.getElementById("filters");
const status = document.getElementById("status");
const say = (text) => { status.textContent = text; };

const filter = () => {
  const { dataset, backbone, method } = form.elements;
  for (const part of document.querySelectorAll("[data-dataset]")) {
    part.hidden = Boolean(
      (dataset.value && part.dataset.dataset !== dataset.value) ||
      (backbone.value && part.dataset.backbone !== backbone.value));
  }
  const wanted = method.value.trim().toLowerCase();
  let shown = 0;
  for (const row of document.querySelectorAll("table.leaderboard tbody tr")) {
    row.hidden = !row.cells[0].dataset.sort.toLowerCase().includes(wanted);
    shown += !row.hidden && !row.closest(".board").hidden;
  }
  const columns = new Set([...form.querySelectorAll("[name=column]:checked")].map((box) => box.value));
  for (const cell of document.querySelectorAll("table.leaderboard [data-name]")) {
    cell.hidden = !columns.has(cell.dataset.name);
  }
  say(`${shown} row${shown === 1 ? "" : "s"} shown.`);
};

form.hidden = false;
const narrow = matchMedia("(max-width: 40rem)");
const fold = () => { form.querySelector("details").open = !narrow.matches; };
fold();
narrow.addEventListener("change", fold);
for (const type of ["input", "change"]) form.addEventListener(type, filter);
form.addEventListener("submit", (event) => event.preventDefault());

// Comparing: the methods that are told apart from the one pointed at, in any metric, fade.
for (const body of document.querySelectorAll("table.leaderboard tbody")) {
  const letters = (row) => row.dataset.letters.split(",").map((own) => own.split(" "));
  const apart = (one, other) => {
    const others = letters(other);
    return letters(one).some((own, i) => !own.some((letter) => others[i].includes(letter)));
  };
  const fade = (chosen) => {
    for (const row of body.rows) row.classList.toggle("apart", chosen !== null && apart(row, chosen));
  };
  for (const type of ["pointerover", "focusin"]) {
    body.addEventListener(type, (event) => fade(event.target.closest("tr")));
  }
  for (const type of ["pointerleave", "focusout"]) body.addEventListener(type, () => fade(null));
}
document.body.classList.add("scripted");

// Definitions: a method's name opens its entry; without this script it is a link to it.
const dialog = document.getElementById("definition");
document.addEventListener("click", (event) => {
  const link = event.target.closest("a.method");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const entry = document.getElementById(link.hash.slice(1));
  dialog.querySelector(".content").replaceChildren(...[...entry.children].map((e) => e.cloneNode(true)));
  dialog.showModal();
});
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

const copy = document.getElementById("copy");
if (copy && navigator.clipboard) {
  copy.hidden = false;
  copy.addEventListener("click", () =>
    navigator.clipboard.writeText(document.getElementById("command").textContent)
      .then(() => { copy.textContent = "Copied"; }));
}

// On paper everything that was folded is open.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
