// Follows one task over its WebSocket: connects, proves from the chain of stream
// ids that no entry is missing, and comes back by itself. It knows the protocol's
// frames, but neither what an entry says nor how it looks.

import { protocols } from "./token.js";

const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 15_000;
const SILENCE_MAX_MS = 25_000;
const CLOSE_NO_SUCH_TASK = 4004;
// Not with this token, or not any more.
const CLOSES_NOT_ALLOWED = [4001, 4003];

/** The form `ms-seq` of a stream id (`0` becomes `0-0`), or null for anything else. */
export function streamId(value) {
  const match = typeof value === "string" && /^(\d{1,20})(?:-(\d{1,20}))?$/.exec(value);
  return match ? `${BigInt(match[1])}-${BigInt(match[2] ?? 0)}` : null;
}

function isAfter(a, b) {
  const [aMs, aSeq] = a.split("-").map(BigInt);
  const [bMs, bSeq] = b.split("-").map(BigInt);
  return aMs === bMs ? aSeq > bSeq : aMs > bMs;
}

function parse(text) {
  try {
    const frame = JSON.parse(text);
    return frame !== null && typeof frame === "object" && !Array.isArray(frame) ? frame : {};
  } catch {
    return {};
  }
}

/** How long to wait before try number `attempt` (from 0): doubling, and a random half of it. */
function retryDelay(attempt) {
  const longest = Math.min(RETRY_MAX_MS, RETRY_FIRST_MS * 2 ** attempt);
  return longest * (0.5 + Math.random() / 2);
}

/**
 * A viewer of one task. `handlers` are called in stream order:
 * `connection(state, detail)` with state connecting, live, waiting (detail: seconds), gone or
 * refused (detail: why); `initial(frame)`; `entry(frame)`, once for each entry;
 * `derived(frame)`, which is like an entry but no part of the chain;
 * `gap(frame)`, always followed by an `initial`; `missed(after, at)` when the chain broke.
 */
export class Follower {
  #url;
  #handlers;
  #last = null; // stream id of the last thing shown: where to go on from
  #brokenAt = null; // the position at which the chain broke, if it broke
  #lookedBack = false; // whether the log was read from its beginning
  #retained = false; // whatever the log retains is wanted, and nothing of it has come yet
  #attempt = 0;
  #socket = null;
  #retry = 0;
  #watchdog = 0;
  #heard = false;
  #refusal = "Thread not found"; // what the server said before it closed for good

  constructor(url, handlers) {
    this.#url = url;
    this.#handlers = handlers;
    this.#open();
  }

  /** Ends it for good. */
  stop() {
    this.#disconnect();
    clearTimeout(this.#retry);
  }

  /** Tries at once if it is waiting to: the network came back, or someone looks again. */
  hurry() {
    if (this.#retry) this.#open();
  }

  #open() {
    clearTimeout(this.#retry);
    this.#retry = 0;
    this.#handlers.connection("connecting");
    const since = this.#retained ? "0" : this.#last;
    const query = since === null ? "" : `?since=${since}`;
    const socket = new WebSocket(this.#url + query, protocols());
    this.#socket = socket;
    this.#heard = true;
    socket.onopen = () => (this.#heard = true);
    socket.onmessage = (message) => {
      this.#heard = true;
      if (typeof message.data === "string") this.#receive(parse(message.data));
    };
    socket.onclose = (close) => this.#closed(close);
    this.#watchdog = setInterval(() => this.#checkAlive(), SILENCE_MAX_MS);
  }

  #disconnect() {
    clearInterval(this.#watchdog);
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #closed(close) {
    this.#disconnect();
    if (close.code === CLOSE_NO_SUCH_TASK) this.#handlers.connection("gone", this.#refusal);
    else if (CLOSES_NOT_ALLOWED.includes(close.code)) this.#handlers.connection("refused", close.reason);
    else this.#retryLater();
  }

  #retryLater() {
    const delay = retryDelay(this.#attempt++);
    this.#handlers.connection("waiting", Math.max(1, Math.round(delay / 1000)));
    this.#retry = setTimeout(() => this.#open(), delay);
  }

  // The browser shows a script no pings, and a dead network closes nothing. So ask.
  #checkAlive() {
    if (!this.#heard) {
      this.#disconnect();
      this.#retryLater();
      return;
    }
    this.#heard = false;
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send('{"type":"ping"}');
  }

  // Every entry has prev_stream_id, whatever its publisher put in; nothing else has it.
  #receive(frame) {
    if ("prev_stream_id" in frame) this.#entry(frame);
    else if (frame.update_type === "initial_state") this.#initial(frame);
    else if (frame.update_type === "caught_up") this.#caughtUp(frame);
    else if (frame.update_type === "gap") this.#handlers.gap(frame);
    else if (frame.derived === true) this.#handlers.derived(frame);
    else if (typeof frame.error === "string") this.#refusal = frame.error;
  }

  #initial(frame) {
    this.#retained = false;
    this.#last = streamId(frame.stream_id);
    this.#brokenAt = null;
    this.#handlers.initial(frame);
    // Of a source that is not the agent's there is a status at most.
    const bare = frame.status === null || typeof frame.source === "string";
    const expired = bare && frame.updates?.length === 0;
    if (expired && this.#last !== "0-0" && !this.#lookedBack) this.#lookBack();
    else this.#settled();
  }

  // The task's state has expired, but its log is there still. It tells what there was.
  #lookBack() {
    this.#lookedBack = true;
    this.#retained = true;
    this.#last = "0-0";
    this.#disconnect();
    this.#open();
  }

  #entry(frame) {
    const id = streamId(frame.stream_id);
    if (id === null) return;
    if (this.#last !== null) {
      if (!isAfter(id, this.#last)) return;
      if (streamId(frame.prev_stream_id) !== this.#last) return this.#broken(id);
    }
    this.#last = id;
    this.#retained = false;
    this.#handlers.entry(frame);
  }

  #caughtUp(frame) {
    // Nothing is retained; it goes on from here.
    if (this.#retained) this.#last = streamId(frame.stream_id);
    this.#retained = false;
    this.#settled();
  }

  #settled() {
    this.#attempt = 0;
    this.#handlers.connection("live");
  }

  // Read the log again from the last good position. If it breaks there once more, the log
  // itself is odd: take the state as it is now instead of trying for ever.
  #broken(id) {
    this.#handlers.missed(this.#last, id);
    const again = this.#brokenAt === this.#last;
    this.#brokenAt = this.#last;
    if (again) {
      this.#last = null;
      this.#retained = false;
    }
    this.#disconnect();
    this.#retryLater();
  }
}
