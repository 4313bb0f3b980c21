// The token that the page shows to the server. It comes with the address of a link,
// #token=…, and leaves it at once: addresses end up in histories and on screens. What is
// shown is kept for this tab, so that the page can be loaded again.

const KEPT = "taskcast.token";
const LINK = "link.";
const LINK_HEAD_BYTES = 24; // its end and its id; behind them is SOURCE:ID
const NAMED = "token=";

let held = "";

function keep(token) {
  held = token;
  try {
    sessionStorage.setItem(KEPT, token);
  } catch {
    // Where nothing may be kept, it counts until the page is left.
  }
}

/** The token of this tab; "" where there is none. */
export function token() {
  try {
    return held || (sessionStorage.getItem(KEPT) ?? "");
  } catch {
    return held;
  }
}

function encoded(text) {
  const bytes = String.fromCharCode(...new TextEncoder().encode(text));
  return btoa(bytes).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

/** The subprotocols with which a socket shows the token. */
export function protocols() {
  const given = token();
  return given ? ["taskcast.v2", `taskcast.token.${encoded(given)}`] : [];
}

/** The headers with which a request shows it. */
export function headers() {
  const given = token();
  return given ? { authorization: `Bearer ${given}` } : {};
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The source and the id of a link's task; null where the token is none of a link. */
function taskOf(given) {
  if (!given.startsWith(LINK)) return null;
  try {
    const content = given.slice(LINK.length).split(".")[0].replace(/-/g, "+").replace(/_/g, "/");
    const bytes = Uint8Array.from(atob(content), (char) => char.charCodeAt(0));
    const task = new TextDecoder().decode(bytes.slice(LINK_HEAD_BYTES));
    const colon = task.indexOf(":");
    return colon > 0 ? { source: task.slice(0, colon), id: task.slice(colon + 1) } : null;
  } catch {
    return null;
  }
}

/**
 * Takes a token out of the address. What stands beside it stays; of a link alone the address
 * becomes that of its task, where `agent` is the source that has no name there. Whether the
 * page is of another source from here on.
 */
export function takeFromAddress(agent) {
  const parts = location.hash.slice(1).split("&");
  const tokens = parts.filter((part) => part.startsWith(NAMED));
  if (tokens.length === 0) return false;
  const beside = parts.find((part) => !part.startsWith(NAMED));
  const given = decoded(tokens[0].slice(NAMED.length));
  keep(given);
  const query = new URLSearchParams(location.search);
  const before = query.get("source");
  const task = beside === undefined ? taskOf(given) : null;
  if (task && task.source === agent) query.delete("source");
  else if (task) query.set("source", task.source);
  const fragment = beside ?? (task ? encodeURIComponent(task.id) : "");
  const search = query.size ? `?${query}` : "";
  history.replaceState(null, "", `${location.pathname}${search}${fragment ? `#${fragment}` : ""}`);
  return query.get("source") !== before;
}
