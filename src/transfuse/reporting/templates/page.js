"use strict";
// Sorting: a click on a column's head sorts by it, a second one turns the order round.
function keyOf(row, column) {
  const cell = row.cells[column];
  return cell.dataset.sort === "" ? cell.textContent.trim() : Number(cell.dataset.sort);
}
function compare(a, b) {
  const numbers = typeof a === "number" && typeof b === "number";
  if (numbers) return a - b;
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1; // what is unknown comes last
  return a.localeCompare(b, undefined, { numeric: true });
}
function sortBy(table, column) {
  const heads = table.tHead.rows[0].cells;
  const up = heads[column].getAttribute("aria-sort") !== "ascending";
  for (const head of heads) head.removeAttribute("aria-sort");
  heads[column].setAttribute("aria-sort", up ? "ascending" : "descending");
  const rows = Array.from(table.tBodies[0].rows);
  rows.sort((a, b) => (up ? 1 : -1) * compare(keyOf(a, column), keyOf(b, column)));
  table.tBodies[0].append(...rows);
}
const tables = document.querySelectorAll("table.sortable");
for (const table of tables) {
  Array.from(table.tHead.rows[0].cells).forEach((head, column) =>
    head.firstElementChild.addEventListener("click", () => sortBy(table, column)));
}
// Reading: a matrix too dense for written counts says what the pointer is at.
for (const reading of document.querySelectorAll("output.reading")) {
  const heat = reading.parentElement.querySelector("svg.heat");
  const names = JSON.parse(reading.dataset.classes);
  const counts = new Map(reading.dataset.counts.split(";").map((entry) => entry.split(":")));
  const say = (event) => {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(heat.getScreenCTM().inverse());
    const row = Math.floor(point.y / heat.dataset.side), column = Math.floor(point.x / heat.dataset.side);
    if (row < 0 || column < 0 || row >= names.length || column >= names.length) return;
    reading.textContent = `truth ${names[row]}, answer ${names[column]}: ${counts.get(`${row},${column}`) ?? 0}`;
  };
  heat.addEventListener("pointermove", say);
  heat.addEventListener("pointerdown", say);
}
// Copying: through the clipboard where the browser allows it, by selecting the text elsewhere.
for (const button of document.querySelectorAll("button.copy")) {
  button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}
// Paper cannot be clicked: everything is open while printing.
let closed = [];
addEventListener("beforeprint", () => {
  closed = Array.from(document.querySelectorAll("details:not([open])"));
  for (const details of closed) details.open = true;
});
addEventListener("afterprint", () => { for (const details of closed) details.open = false; });
document.documentElement.dataset.tables = String(tables.length);
