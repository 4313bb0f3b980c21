// Draws the list of the newest tasks and moves the focus in it. One list item lives as
// long as its task is listed, so that neither focus nor selection is lost on a refresh.

import { clip, shownProgress, statusLabel, text, tone } from "./task.js";
import { drawBar, element, setText } from "./view.js";

const TITLE_CHARS_MAX = 200;
const MESSAGE_CHARS_MAX = 200;
const UNITS = [
  [86_400, "d"],
  [3_600, "h"],
  [60, "min"],
];

/** A task's title: its subject, else the end of its id. */
export function titleOf(threadId, subject) {
  return clip(text(subject).trim(), TITLE_CHARS_MAX) || `Task ${threadId.slice(-8)}`;
}

function age(value) {
  const seconds = Math.floor((Date.now() - new Date(text(value)).getTime()) / 1000);
  if (Number.isNaN(seconds)) return "";
  const unit = UNITS.find(([size]) => seconds >= size);
  if (unit) return `${Math.floor(seconds / unit[0])} ${unit[1]}`;
  return seconds < 5 ? "now" : `${seconds} s`;
}

/** The list. `taskOf(threadId)` gives what was last listed of a task. */
export class TaskList {
  #root;
  #items = new Map();
  #chosen = null;

  constructor(root) {
    this.#root = root;
    root.addEventListener("keydown", (event) => this.#move(event));
  }

  taskOf(threadId) {
    return this.#items.get(threadId)?.task ?? null;
  }

  choose(threadId) {
    this.#chosen = threadId;
    for (const [id, item] of this.#items) markChosen(item.link, id === threadId);
  }

  focus(threadId) {
    this.#items.get(threadId)?.link.focus();
  }

  draw(tasks) {
    const gone = new Set(this.#items.keys());
    let place = this.#root.firstElementChild;
    for (const task of tasks) {
      const item = this.#items.get(task.thread_id) ?? this.#add(task.thread_id);
      gone.delete(task.thread_id);
      item.draw(task);
      if (item.node === place) place = place.nextElementSibling;
      else this.#place(item, place);
    }
    for (const id of gone) this.#remove(id);
  }

  /** What the live view of a task knows is newer than the last refresh. */
  drawLive(threadId, { status, progress, headline }) {
    const item = this.#items.get(threadId);
    if (item) item.draw({ ...item.task, status, progress, message: headline || item.task.message });
  }

  #add(threadId) {
    const item = new ListItem(threadId);
    markChosen(item.link, threadId === this.#chosen);
    this.#items.set(threadId, item);
    return item;
  }

  #remove(threadId) {
    this.#items.get(threadId).node.remove();
    this.#items.delete(threadId);
  }

  // Moving a node takes the focus from it.
  #place(item, before) {
    const focused = document.activeElement === item.link;
    this.#root.insertBefore(item.node, before);
    if (focused) item.link.focus();
  }

  #move(event) {
    const links = [...this.#root.querySelectorAll("a")];
    const at = links.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: links.length - 1 }[event.key];
    if (at < 0 || to === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    links[Math.min(links.length - 1, Math.max(0, to))].focus();
  }
}

function markChosen(link, chosen) {
  if (chosen) link.setAttribute("aria-current", "true");
  else link.removeAttribute("aria-current");
}

class ListItem {
  task = null;

  constructor(threadId) {
    this.node = document.createElement("li");
    this.link = element("a", "item");
    this.link.href = `#${threadId}`;
    this.title = element("span", "item-title");
    this.age = element("span", "item-age");
    this.status = element("span", "item-status");
    this.message = element("span", "item-message");
    this.bar = element("span", "bar");
    this.bar.append(document.createElement("i"));
    this.bar.setAttribute("aria-hidden", "true");
    this.link.append(this.title, this.age, this.status, this.message, this.bar);
    this.node.append(this.link);
  }

  draw(task) {
    this.task = task;
    const percent = shownProgress(task.progress, text(task.status));
    this.link.dataset.tone = tone(text(task.status));
    setText(this.title, titleOf(task.thread_id, task.subject));
    setText(this.age, age(task.updated_at ?? task.created_at));
    const share = percent === null || percent === 100 ? "" : ` ${Math.round(percent)}%`;
    setText(this.status, statusLabel(task.status) + share);
    setText(this.message, clip(text(task.message), MESSAGE_CHARS_MAX));
    drawBar(this.bar, percent, tone(text(task.status)));
  }
}
