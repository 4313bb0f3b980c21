// The page: which task is chosen (the URL's fragment, and its query's `source`, where that
// is not the agent's), the list's refresh, and the wiring from a task's connection to its
// drawing.

import { Follower } from "./follow.js";
import { TaskList, titleOf } from "./list.js";
import { Task, shownProgress, text, tone } from "./task.js";
import { headers, takeFromAddress } from "./token.js";
import { TaskView, drawConnection, drawInfo, setText } from "./view.js";

const LIST_LIMIT = 50;
const LIST_REFRESH_MS = 3_000;
const INFO_REFRESH_MS = 5_000;
const REFRESH_MAX_MS = 30_000;
const THREAD_ID = /^[A-Za-z0-9_-]{1,128}$/;
const SOURCE = /^[a-z0-9_-]{1,32}$/;
const SOURCE_ID_CHARS_MAX = 512;
const AGENT = "sre";

const byId = (id) => document.getElementById(id);
const list = new TaskList(byId("tasks"));
takeFromAddress(AGENT);
let open = null; // the OpenTask on the screen
const source = sourceOf(location.search); // whose tasks these are; null is the agent's

function sourceOf(query) {
  const given = new URLSearchParams(query).get("source");
  return given !== null && given !== AGENT && SOURCE.test(given) ? given : null;
}

/** The id that a fragment names, or null. */
function idIn(fragment) {
  if (source === null) return THREAD_ID.test(fragment) ? fragment : null;
  try {
    const id = decodeURIComponent(fragment);
    return id.length > 0 && id.length <= SOURCE_ID_CHARS_MAX ? id : null;
  } catch {
    return null;
  }
}

/** The path of a task, as the API has it. */
function taskPath(id) {
  return source === null ? `tasks/${id}` : `${source}/${encodeURIComponent(id)}`;
}

async function getJson(path) {
  const response = await fetch(path, { headers: { accept: "application/json", ...headers() } });
  if (!response.ok) throw new Refused(path, response.status);
  return response.json();
}

/** The server says no, or not now. */
class Refused extends Error {
  constructor(path, status) {
    super(`${path}: ${status}`);
    this.forbidden = status === 401 || status === 403;
  }
}

/** Calls `work` again and again: jittered, slower while it fails, not at all while nobody looks. */
function refresh(everyMs, work) {
  let failures = 0;
  let timer = 0;
  let stopped = false;
  const run = async () => {
    if (!document.hidden) {
      try {
        await work();
        failures = 0;
      } catch (error) {
        // What is not for this tab's token does not get there by asking again.
        if (error.forbidden) stopped = true;
        failures += 1;
      }
    }
    if (stopped) return;
    const delay = Math.min(REFRESH_MAX_MS, everyMs * 2 ** failures);
    timer = setTimeout(run, delay * (0.8 + Math.random() * 0.4));
  };
  run();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}

function note(message) {
  byId("list-note").hidden = message === "";
  setText(byId("list-note"), message);
}

// The server lists what changed last first. A list that stays where it is can be clicked.
function byAge(a, b) {
  const made = (task) => Date.parse(text(task.created_at)) || 0;
  return made(b) - made(a);
}

async function refreshList() {
  let answer;
  try {
    answer = await getJson(`/api/v1/tasks?limit=${LIST_LIMIT}`);
  } catch (error) {
    const what = "The list cannot be read right now. Trying again.";
    note(error.forbidden ? "The list of all tasks needs a token for it." : what);
    throw error;
  }
  const listed = Array.isArray(answer?.tasks) ? answer.tasks : [];
  const tasks = listed.filter((task) => THREAD_ID.test(text(task?.thread_id))).sort(byAge);
  note("");
  list.draw(tasks);
  byId("first-task").hidden = tasks.length > 0;
  const running = tasks.filter((task) => tone(text(task.status)) === "running").length;
  setText(byId("tally"), running ? `${running} running` : "");
  open?.schedule();
}

/** The chosen task: its connection, what is known of it, and its drawing. */
class OpenTask {
  threadId;
  #task = new Task();
  #view;
  #follower;
  #stopInfo = null;
  #frame = 0;
  #subject = null;

  constructor(threadId) {
    this.threadId = threadId;
    this.#view = new TaskView(threadId);
    this.#draw();
    const url = new URL(`/api/v1/ws/${taskPath(threadId)}`, location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const update = (change) => {
      change();
      this.schedule();
    };
    this.#follower = new Follower(url.href, {
      connection: (state, detail) => this.#connection(state, detail),
      initial: (frame) => update(() => this.#task.initial(frame)),
      entry: (frame) => update(() => this.#task.entry(frame)),
      derived: (frame) => update(() => this.#task.derived(frame)),
      gap: (frame) => update(() => this.#task.gap(frame)),
      missed: (after) => update(() => this.#task.missed(after)),
    });
  }

  close() {
    this.#follower.stop();
    this.#stopInfo?.();
    cancelAnimationFrame(this.#frame);
    open = null;
  }

  hurry() {
    this.#follower.hurry();
  }

  dismissNotice() {
    this.#task.notice = null;
    this.schedule();
  }

  // However many entries arrive between two frames of the screen, they are drawn in one go.
  schedule() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      if (open === this) this.#draw();
    });
  }

  #draw() {
    const title = titleOf(this.threadId, this.#subject || list.taskOf(this.threadId)?.subject);
    if (this.#task.status) list.drawLive(this.threadId, this.#task);
    this.#view.draw(this.#task, title);
    const percent = shownProgress(this.#task.progress, this.#task.status);
    document.title = `${percent === null ? "" : `${Math.round(percent)}% · `}${title} · Taskcast`;
  }

  #connection(state, detail) {
    drawConnection(state, detail);
    this.#view.drawAbsent(state === "gone" && this.#task.generation === 0);
    if (state !== "live") {
      this.#stopInfo?.();
      this.#stopInfo = null;
    } else {
      this.#stopInfo ??= refresh(INFO_REFRESH_MS, () => this.#refreshInfo());
      const listed = source !== null || list.taskOf(this.threadId);
      if (!this.#subject && !listed) this.#readSubject();
    }
  }

  async #refreshInfo() {
    const info = await getJson(`/api/v1/${taskPath(this.threadId)}/stream-info`);
    if (open === this) drawInfo(info);
  }

  // A task older than the list: its subject is in its state.
  async #readSubject() {
    try {
      const state = await getJson(`/api/v1/tasks/${this.threadId}`);
      this.#subject = state?.metadata?.subject;
      this.schedule();
    } catch {
      // It has a title without it, and the connection says what is wrong.
    }
  }
}

function followFragment() {
  if (takeFromAddress(AGENT)) return location.reload();
  const chosen = idIn(location.hash.slice(1));
  const before = open?.threadId ?? null;
  open?.close();
  document.body.dataset.view = chosen ? "task" : "list";
  byId("task").hidden = !chosen;
  byId("placeholder").hidden = Boolean(chosen);
  list.choose(chosen);
  document.title = "Taskcast";
  if (chosen) open = new OpenTask(chosen);
  const narrow = getComputedStyle(document.querySelector(".back")).display !== "none";
  if (!narrow) return;
  if (chosen) byId("title").focus();
  else if (before) list.focus(before);
}

// With nothing open and nothing focused, the arrow keys begin at the list.
function enterList(event) {
  const free = !open && document.activeElement === document.body;
  if (free && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
    event.preventDefault();
    document.querySelector("#tasks a")?.focus();
  }
}

function start() {
  byId("first-task-command").textContent = [
    `curl ${location.origin}/api/v1/triage \\`,
    "  -H 'content-type: application/json' \\",
    `  -d '{"query": "Why is memory rising?"}'`,
  ].join("\n");
  byId("skip").addEventListener("click", () => byId("detail").focus());
  byId("notice-close").addEventListener("click", () => open?.dismissNotice());
  addEventListener("hashchange", followFragment);
  document.addEventListener("keydown", enterList);
  addEventListener("online", () => open?.hurry());
  document.addEventListener("visibilitychange", () => document.hidden || open?.hurry());
  if (source === null) refresh(LIST_REFRESH_MS, refreshList);
  else note(`A task of ${source} is chosen by its address: ?source=${source}#ID`);
  followFragment();
}

start();
