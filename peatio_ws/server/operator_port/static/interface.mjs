/** The operator's HTTP interface: one request at a time in, its answer or one of three errors out. */

const PATIENCE = 20_000; // ms: a command waits up to 3 s for each silent worker
const KEY = "peatio-ws-admin-token";

/** The token is wrong, or missing. */
export class WrongToken extends Error {}

/** Too many requests of this address had a wrong token. */
export class LockedOut extends Error {
  /** @param {string} text @param {number} seconds until the next try */
  constructor(text, seconds) {
    super(text);
    this.seconds = seconds;
  }
}

/** Any other answer than 200, or none. */
export class Failed extends Error {
  /** @param {string} text @param {number} status 0 without an answer */
  constructor(text, status) {
    super(text);
    this.status = status;
  }
}

/** The token: typed by the operator, and known to this tab only, until it is closed. */
export const token = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  /** @param {string} text */
  set: (text) => sessionStorage.setItem(KEY, text.trim().replace(/^Bearer\s+/i, "")),
  forget: () => sessionStorage.removeItem(KEY),
};

/** The gateway's clock: that of the operator's browser may be wrong by minutes, and so would be the ages of connections. */
export const server = { ahead: 0, now: () => Date.now() + server.ahead };

/** @param {Response} answer */
function readClock(answer) {
  const ahead = Date.parse(answer.headers.get("Date") ?? "") - Date.now(); // of the beginning of a second
  if (Math.abs(ahead - server.ahead) > 3000) server.ahead = ahead;
}

/**
 * Make a request.
 *
 * @param {string} path below `api/`; names in it are encoded
 * @param {AbortSignal} [signal] for an answer that has no end
 * @returns {Promise<Response>} with status 200
 */
export async function send(path, method = "GET", body = /** @type {unknown} */ (undefined), signal = AbortSignal.timeout(PATIENCE)) {
  // A request with a token that no header can have would look like a gateway that does not answer.
  if (!/^[\x21-\x7e]+$/.test(token.get())) throw new WrongToken("This is not a token: it has blanks, or letters that no token has.");
  const headers = { Authorization: `Bearer ${token.get()}`, ...(body !== undefined && { "Content-Type": "application/json" }) };
  const options = { method, headers, signal, cache: /** @type {const} */ ("no-store"), credentials: /** @type {const} */ ("omit") };
  const answer = await fetch(`api/${path}`, { ...options, body: body === undefined ? undefined : JSON.stringify(body) }).catch(() => null);
  if (answer === null) throw new Failed("The gateway does not answer.", 0);
  readClock(answer);
  if (answer.ok) return answer;
  const text = (await answer.json().catch(() => ({}))).error ?? `The answer is HTTP ${answer.status}.`;
  if (answer.status === 401) throw new WrongToken("This is not the ADMIN_TOKEN of this gateway.");
  if (answer.status === 429) throw new LockedOut(text, Number(answer.headers.get("Retry-After")) || 60);
  throw new Failed(text, answer.status);
}

/** Make a request, and return its JSON. @param {string} path @param {string} [method] @param {unknown} [body] @returns {Promise<any>} */
export async function ask(path, method = "GET", body = undefined) {
  const answer = await send(path, method, body);
  return answer.json().catch(() => {
    throw new Failed("The answer was cut off.", 0);
  });
}

/** @param {string} name of a member, a token or a connection */
export const named = (name) => encodeURIComponent(name);
