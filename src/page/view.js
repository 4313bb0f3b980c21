// Draws one task. All that comes from outside enters the page through textContent.

import { ROWS_MAX, shownProgress, statusLabel, tone } from "./task.js";

const ANIMATED_ROWS_MAX = 5; // more at once is a replay, not news

const byId = (id) => document.getElementById(id);
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium", hourCycle: "h23" });
const numbers = new Intl.NumberFormat();

/** A new element with a class and a text. */
export function element(name, className, text = "") {
  const node = document.createElement(name);
  node.className = className;
  node.textContent = text;
  return node;
}

/** Sets a text only where it changed, so that selections and screen readers are left in peace. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Shows `percent` (or null: not known) on a bar whose only child is its filled part. */
export function drawBar(bar, percent, barTone) {
  bar.dataset.tone = barTone;
  bar.classList.toggle("unknown", percent === null && barTone === "running");
  bar.firstElementChild.style.transform = `scaleX(${(percent ?? 0) / 100})`;
  if (percent === null) bar.removeAttribute("aria-valuenow");
  else bar.setAttribute("aria-valuenow", String(Math.round(percent)));
}

const CONNECTION_WORDS = {
  connecting: () => "Connecting…",
  live: () => "Live",
  waiting: (seconds) => `Reconnecting in ${seconds} s`,
  gone: (why) => why,
  refused: (why) => why,
};

/** Shows the state of the connection. */
export function drawConnection(state, detail) {
  const node = byId("connection");
  node.dataset.state = state;
  setText(node, CONNECTION_WORDS[state](detail));
}

/** Shows the counts of stream-info, or dashes. */
export function drawInfo(info) {
  const show = (value) => (Number.isSafeInteger(value) ? numbers.format(value) : "–");
  setText(byId("stream-length"), show(info?.stream_length));
  setText(byId("viewers"), show(info?.active_connections));
}

/** The drawing of one task; it remembers which rows it has drawn. */
export class TaskView {
  #generation = -1;
  #drawnSerial = 0;

  constructor(threadId) {
    setText(byId("thread-id"), threadId);
    byId("log").replaceChildren();
    drawInfo(null);
  }

  /** Nobody has ever heard of this task, or it is known after all. */
  drawAbsent(absent) {
    byId("absent").hidden = !absent;
    byId("known").hidden = absent;
  }

  draw(task, title) {
    const percent = shownProgress(task.progress, task.status);
    setText(byId("title"), title);
    setText(byId("status"), task.status ? statusLabel(task.status) : "…");
    byId("status").dataset.tone = tone(task.status);
    setText(byId("headline"), task.headline);
    setText(byId("percent"), percent === null ? "" : `${Math.round(percent)}%`);
    drawBar(byId("bar"), percent, tone(task.status));
    setText(byId("received"), `${numbers.format(task.received)} in order`);
    setText(byId("position"), task.lastId ?? "–");
    drawSection("notice", "notice-text", task.notice);
    drawSection("error-section", "error", task.error);
    drawSection("result-section", "result", task.result);
    this.#drawRows(task);
  }

  // Only new rows are built, at most ROWS_MAX at a time, newest on top.
  #drawRows(task) {
    const log = byId("log");
    const fresh = task.generation !== this.#generation;
    if (fresh) log.replaceChildren();
    const isNew = (row) => fresh || row.serial > this.#drawnSerial;
    const rows = task.rows.slice(-ROWS_MAX).filter(isNew).reverse();
    if (rows.length > 0) {
      const animated = !fresh && rows.length <= ANIMATED_ROWS_MAX;
      log.prepend(...rows.map((row) => rowElement(row, animated)));
      this.#drawnSerial = rows[0].serial;
    }
    this.#generation = task.generation;
    while (log.childElementCount > ROWS_MAX) log.lastElementChild.remove();
    setText(byId("updates-count"), numbers.format(task.total));
    const shown = log.childElementCount;
    log.start = task.total;
    byId("older").hidden = task.total <= shown;
    setText(byId("older"), `The newest ${numbers.format(shown)} of ${numbers.format(task.total)}.`);
  }
}

function drawSection(sectionId, textId, text) {
  byId(sectionId).hidden = text === null;
  setText(byId(textId), text ?? "");
}

function rowElement(row, animated) {
  const item = element("li", animated ? "row new" : "row");
  item.dataset.tone = row.tone;
  const time = element("time", "row-time", row.time ? clock.format(row.time) : "");
  if (row.time) {
    time.dateTime = row.time.toISOString();
    time.title = row.time.toLocaleString();
  }
  item.append(time, element("span", "row-message", row.message));
  if (row.progress !== null) {
    item.append(element("span", "row-side", `${Math.round(row.progress)}%`));
  } else if (row.tone === "plain" && row.kind && row.kind !== "progress") {
    item.append(element("span", "row-side kind", row.kind));
  }
  return item;
}
