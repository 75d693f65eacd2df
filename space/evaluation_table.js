// The visitor's sorting, filter and opened question live here alone, so that no row which streams in can reset them.
const LIMIT = 50;
const board = element.querySelector(".fn-board");
const body = board.querySelector("tbody");
const more = board.querySelector(".fn-more");
const tests = {
  all: () => true,
  differs: (row) => row.dataset.differs === "1",
  "tuned-wrong": (row) => row.dataset.tuned === "0",
  "base-wrong": (row) => row.dataset.base === "0",
};
const words = new Intl.Collator("en", { numeric: true });
const keys = {
  number: (row) => Number(row.dataset.number),
  question: (row) => row.querySelector(".fn-open").textContent,
  base: (row) => (row.dataset.base === "" ? 2 : Number(row.dataset.base)), // wrong first: that is what people look for
  tuned: (row) => (row.dataset.tuned === "" ? 2 : Number(row.dataset.tuned)),
};
let rows = new Map();
let column = "number", down = false, filter = "all", limit = LIMIT, open = null;

const detail = document.createElement("tr");
detail.className = "fn-detail";
detail.setAttribute("role", "row");
detail.innerHTML = '<td role="cell" colspan="5"><div></div></td>';

function take() {
  const sheet = document.createElement("template");
  sheet.innerHTML = props.value || "";
  const fresh = new Map();
  for (const row of sheet.content.querySelectorAll("tr[data-id]")) {
    const old = rows.get(row.dataset.id);
    const kept = old && old.source === row.outerHTML ? old : { source: row.outerHTML, row };
    fresh.set(row.dataset.id, kept);
  }
  if (fresh.size < rows.size) limit = LIMIT;
  rows = fresh;
  if (open !== null && !rows.has(open)) close();
  draw();
}

function compare(one, other) {
  const [a, b] = [keys[column](one), keys[column](other)];
  const found = column === "question" ? words.compare(a, b) : a - b;
  return (down ? -found : found) || keys.number(one) - keys.number(other);
}

function draw() {
  const all = [...rows.values()].map((entry) => entry.row);
  const wanted = all.filter(tests[filter]).sort(compare);
  const shown = wanted.slice(0, limit);
  const opened = shown.findIndex((row) => row.dataset.id === open);
  if (opened >= 0) shown.splice(opened + 1, 0, detail);
  place(shown);
  for (const row of all) {
    row.querySelector(".fn-open").setAttribute("aria-expanded", String(row.dataset.id === open));
    row.classList.toggle("fn-opened", row.dataset.id === open);
  }
  tell(all, wanted);
}

// Rows already in their place are left alone: a node that moves loses the keyboard's focus.
function place(shown) {
  const focused = document.activeElement;
  shown.forEach((row, at) => {
    if (body.children[at] !== row) body.insertBefore(row, body.children[at] || null);
  });
  while (body.children.length > shown.length) body.lastElementChild.remove();
  if (document.activeElement !== focused && body.contains(focused)) focused.focus({ preventScroll: true });
}

function tell(all, wanted) {
  board.hidden = all.length === 0;
  for (const chip of board.querySelectorAll("[data-filter]")) {
    chip.setAttribute("aria-pressed", String(chip.dataset.filter === filter));
    chip.querySelector(".fn-count").textContent = all.filter(tests[chip.dataset.filter]).length.toLocaleString("en");
  }
  for (const head of board.querySelectorAll("th[data-column]")) {
    const order = head.dataset.column !== column ? "none" : down ? "descending" : "ascending";
    head.setAttribute("aria-sort", order);
  }
  board.querySelector(".fn-shown").textContent = wanted.length ? "" : "No question of this kind so far.";
  more.hidden = wanted.length <= limit;
  more.textContent = `Show ${Math.min(LIMIT, wanted.length - limit)} more of ${wanted.length.toLocaleString("en")}`;
}

function say() {
  const count = [...rows.values()].filter((entry) => tests[filter](entry.row)).length;
  const name = board.querySelector(`th[data-column="${column}"] button`).textContent;
  const order = down ? "descending" : "ascending";
  board.querySelector("[role=status]").textContent = `${count} of ${rows.size} questions, by ${name}, ${order}`;
}

function close() {
  open = null;
  detail.remove();
}

function toggle(row) {
  const same = row.dataset.id === open;
  close();
  if (!same) {
    open = row.dataset.id;
    detail.querySelector("div").innerHTML = '<p class="fn-opening">Opening…</p>';
    fill();
    trigger("select", { id: open });
  }
  draw();
}

function fill() {
  if (props.detail && props.detail.id === open) detail.querySelector("div").innerHTML = props.detail.html;
}

function press(target) {
  const chip = target.closest("[data-filter]"), sort = target.closest(".fn-sort");
  if (chip) {
    filter = chip.dataset.filter;
    limit = LIMIT;
  } else if (sort) {
    const chosen = sort.parentElement.dataset.column;
    down = chosen === column && !down;
    column = chosen;
  } else if (target === more) {
    limit += LIMIT;
  } else {
    return false;
  }
  draw();
  say();
  return true;
}

board.addEventListener("click", (event) => {
  const row = event.target.closest("tr[data-id]");
  const marking = !event.target.closest(".fn-open") && String(getSelection()); // text of the row is being selected
  if (!press(event.target) && row && !marking) toggle(row);
});
watch("value", take);
watch("detail", fill);
take();
