// What is known of one task, made from the frames about it: status, progress, rows,
// result, error. It knows neither sockets nor the DOM. Whatever a frame holds, nothing
// here throws: publishers may leave out any field and put any JSON into the others.

/** How many rows are kept; older ones are only counted. */
export const ROWS_MAX = 500;

const MESSAGE_CHARS_MAX = 2_000;
const DOCUMENT_CHARS_MAX = 200_000;

const TONES = new Map([
  ["in_progress", "running"],
  ["awaiting_approval", "waiting"],
  ["done", "done"],
  ["completed", "done"],
  ["failed", "failed"],
]);

/** The colour family of a status: idle, running, waiting, done or failed. */
export function tone(status) {
  return TONES.get(status) ?? "idle";
}

/** A status in words: `in_progress` is "In progress". */
export function statusLabel(status) {
  const words = clip(text(status), 40).replaceAll("_", " ").trim();
  return words ? words[0].toUpperCase() + words.slice(1) : "Unknown";
}

/** The progress a bar shows: a finished task's is full, whatever its last update said. */
export function shownProgress(progress, status) {
  if (tone(status) === "done") return 100;
  return Number.isFinite(progress) ? Math.min(100, Math.max(0, progress)) : null;
}

/** Any JSON value as text: strings as they are, nothing as "". */
export function text(value) {
  if (typeof value === "string") return value;
  if (value === null || value === undefined) return "";
  return stringify(value, 0);
}

/** The first `chars` characters, with an ellipsis where more was. */
export function clip(string, chars) {
  return string.length > chars ? `${string.slice(0, chars)}…` : string;
}

// Deep enough nesting overflows the stack of JSON.stringify.
function stringify(value, indent) {
  try {
    return JSON.stringify(value, null, indent) ?? "";
  } catch {
    return "(too deeply nested to show)";
  }
}

function pretty(value) {
  if (value === null || value === undefined) return null;
  return clip(typeof value === "string" ? value : stringify(value, 2), DOCUMENT_CHARS_MAX);
}

function progressIn(metadata) {
  if (metadata === null || typeof metadata !== "object") return null;
  const { progress, step, total_steps: total } = metadata;
  if (Number.isFinite(progress)) return Math.min(100, Math.max(0, progress));
  if (!Number.isFinite(step) || !Number.isFinite(total) || total <= 0) return null;
  return Math.min(100, Math.max(0, (100 * step) / total));
}

function timeOf(value) {
  const time = new Date(text(value));
  return Number.isNaN(time.getTime()) ? null : time;
}

function count(value) {
  return Number.isSafeInteger(value) && value > 0 ? value : 0;
}

// How a task ends whose worker writes its status to keys only, by the type of the entry that ends it.
const ENDS = new Map([
  ["turn_complete", "done"],
  ["error", "failed"],
  ["cancellation", "cancelled"],
]);

const GAP_REASONS = new Map([
  ["trimmed", "The log was trimmed"],
  ["deleted", "A part of the log was deleted"],
  ["reset", "The log was started anew"],
]);

function gapNotice(frame) {
  const what = GAP_REASONS.get(frame.reason) ?? "The log has a gap";
  const from = clip(text(frame.requested), 41);
  const after = from ? ` Updates after ${from} may be missing.` : " Some updates may be missing.";
  return `${what}.${after} This is the task’s state from here on.`;
}

/** One task as its viewer sees it. The view draws `rows` whose `serial` it has not drawn. */
export class Task {
  status = "";
  turn = ""; // of a thread with several tasks, the one that the status is of
  progress = null;
  headline = ""; // the newest update's message
  result = null;
  error = null;
  notice = null; // what the viewer should know about missed updates
  lastId = null;
  received = 0; // entries that came live or were read again, each proven by the chain
  rows = []; // oldest first
  total = 0; // rows there ever were, shown or not
  generation = 0; // grows when `rows` starts anew
  #serial = 0;
  #told = ""; // the status, apart from an end
  #guessed = false; // the status is what the newest entry means

  initial(frame) {
    const updates = Array.isArray(frame.updates) ? frame.updates : [];
    this.#changeStatus(text(frame.status));
    this.turn = text(frame.task_id);
    this.progress = null;
    this.headline = "";
    this.result = pretty(frame.result);
    this.error = pretty(frame.error_message);
    this.lastId = text(frame.stream_id);
    this.rows = [];
    this.generation += 1;
    for (const update of updates) this.#addUpdate(update ?? {}, text(update?.update_type));
    this.total = Math.max(count(frame.updates_total), updates.length);
  }

  entry(frame) {
    this.received += 1;
    this.lastId = text(frame.stream_id);
    this.status = this.#told; // what comes behind an end may take it back
    const counts = this.#isOfTurn(frame);
    if (counts) this.#guess(frame);
    this.#tell(frame, counts);
  }

  /** What the task's keys tell in place of an entry. Who comes back is told what may be known already. */
  derived(frame) {
    if (text(frame.update_type) === "end") return this.#end(frame);
    const { status, result, error } = this;
    const kind = text(frame.update_type);
    this.#follow(text(frame.task_id));
    const known =
      (kind === "status_change" && text(frame.status) === status) ||
      (kind === "result_set" && pretty(frame.result) === result) ||
      (kind === "error_set" && pretty(frame.error_message) === error);
    if (!known) this.#tell(frame, true);
  }

  #changeStatus(status) {
    this.status = this.#told = status;
    this.#guessed = false;
  }

  /** The server says which task of the thread its turn is. */
  #follow(turn) {
    if (!turn || turn === this.turn) return;
    if (this.turn) this.result = this.error = this.progress = null;
    this.turn = turn;
  }

  #isOfTurn(frame) {
    const task = text(frame.task_id);
    return !task || !this.turn || task === this.turn;
  }

  /** Where no status is known, its state having expired, the newest entry may tell how it ended. */
  #guess(frame) {
    if ((this.status && !this.#guessed) || frame.parent_task_id || isOfSource(frame)) return;
    const end = ENDS.get(text(frame.update_type));
    this.#changeStatus(end ?? "");
    this.#guessed = end !== undefined;
  }

  /** A source says that its last entry ended the task. */
  #end(frame) {
    const failed = frame.failed === true;
    this.status = failed ? "failed" : "done";
    this.#addRow(frame.timestamp, failed ? "It failed." : "It ended.", "end", null, this.status);
  }

  /** `counts` if it is about the thread's turn, and not about another of its tasks. */
  #tell(frame, counts) {
    const kind = text(frame.update_type);
    if (kind === "thread_update") return this.#addUpdate(frame, text(frame.type));
    if (isOfSource(frame) && Array.isArray(frame.events)) return this.#addEvents(frame);
    if (counts) {
      if (kind === "status_change" && frame.status !== undefined) this.#changeStatus(text(frame.status));
      if (kind === "result_set") this.result = pretty(frame.result);
      if (kind === "error_set") this.error = pretty(frame.error_message);
    }
    const own = isOfSource(frame) ? summary(frame) : "";
    const message = text(frame.message) || text(frame.error_message) || own || kind || "Update";
    this.#addRow(frame.timestamp, message, kind, null, rowTone(kind, frame));
  }

  /** What happened, where an entry of a source tells several things. */
  #addEvents(frame) {
    for (const event of frame.events) {
      const message = text(event?.message) || text(event?.data) || text(event);
      const kind = text(event?.event) || text(event?.type) || text(frame.update_type);
      this.#addRow(frame.timestamp, message || kind, kind, null, "plain");
    }
  }

  gap(frame) {
    this.notice = gapNotice(frame);
  }

  missed(after) {
    this.notice = `An update after ${after} did not arrive. The log is read again from there.`;
  }

  #addUpdate(update, kind) {
    const progress = progressIn(update.metadata);
    if (progress !== null) this.progress = progress;
    const message = text(update.message);
    if (message) this.headline = clip(message, 300);
    this.#addRow(update.timestamp, message || kind || "Update", kind, progress, "plain");
  }

  #addRow(timestamp, message, kind, progress, rowTone) {
    this.total += 1;
    this.rows.push({
      serial: ++this.#serial,
      time: timeOf(timestamp),
      message: clip(message, MESSAGE_CHARS_MAX),
      kind: clip(kind, 40),
      progress,
      tone: rowTone,
    });
    if (this.rows.length >= 2 * ROWS_MAX) this.rows = this.rows.slice(-ROWS_MAX);
  }
}

function isOfSource(frame) {
  return typeof frame.source === "string";
}

/** What an entry of a source says beside what is the server's, as JSON. */
function summary(frame) {
  const { update_type, stream_id, prev_stream_id, thread_id, source, timestamp, ...own } = frame;
  return stringify(own, 0);
}

function rowTone(kind, frame) {
  if (kind === "status_change") return tone(text(frame.status));
  if (kind === "result_set") return "done";
  if (kind === "error_set") return "failed";
  return "plain";
}
