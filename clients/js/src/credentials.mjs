// Which session token to send, when to renew it, and what a refusal means.

import { wall } from "./clocks.mjs";
import { Refused } from "./errors.mjs";

const EARLY = 60; // renew a token this long before `exp`; a quarter of the remaining time, if that is less
const RENEWAL_PAUSE = 0.5; // shortest pause between two requests for a token
const LONGEST_RENEWAL_PAUSE = 60;
const MOST_REFUSALS = 3; // consecutive refused tokens, all different, before the client gives up
const SKEW = 10; // how far the clock of the gateway may be behind the clock that wrote `iat`
const AGAIN = 2; // shortest time before the same token is sent again

const IN_THE_LOG = "the gateway's log says why (`token refused`)"; // it does not tell a client

/** A time of a JWT (RFC 7519 section 4.1); null if it cannot be read. @param {string} token @param {string} name */
function claim(token, name) {
  try {
    const payload = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const value = JSON.parse(atob(payload))[name];
    return Number.isFinite(value) ? Number(value) : null;
  } catch {
    return null;
  }
}

/** Return that a token has expired, and what to do; empty if it has not. @param {string} token */
function expired(token) {
  const exp = claim(token, "exp");
  if (exp === null || exp < 0 || exp > wall()) return "";
  const at = new Date(exp * 1000).toISOString().replace("T", " ").slice(0, 19);
  return `it expired at ${at} UTC; give a function that returns a new token`;
}

/** When to renew the token that the gateway has. */
export class Renewal {
  /** Unix time. */
  due = Infinity;
  /** @type {number | null} */
  #exp = null;
  #failures = 0;

  /** Schedule the renewal of a token that was sent to the gateway. @param {string} token */
  shown(token) {
    const iat = claim(token, "iat");
    this.#exp = claim(token, "exp");
    if (this.#exp === null) {
      this.due = Infinity;
      return;
    }
    // If the clock of this machine is behind, the token ends before its `exp`.
    if (iat !== null) this.#exp = Math.min(this.#exp, wall() + Math.max(0, this.#exp - iat));
    const left = this.#exp - wall();
    if (left <= 0) this.putOff(); // this machine's clock is ahead, or the token has expired
    else {
      this.due = this.#exp - Math.min(EARLY, left / 4);
      this.#failures = 0;
    }
  }

  /** No fresh token was available: try after half of the remaining time, then at growing intervals. */
  putOff() {
    const left = (this.#exp ?? wall()) - wall();
    this.due = wall() + Math.max(Math.min(LONGEST_RENEWAL_PAUSE, RENEWAL_PAUSE * 2 ** this.#failures), left / 2);
    this.#failures += 1;
  }

  /** Renew after this time. @param {number} seconds */
  again(seconds) {
    this.due = wall() + seconds;
  }

  /** Stop renewing: the gateway accepts no token. */
  stop() {
    this.due = Infinity;
  }
}

/** The session token of a client, over all its connections. */
export class Credentials {
  renewal = new Renewal();
  /** A token to send again; null to ask the token function. @type {string | null} */
  kept = null;
  /** The token that was last sent to the gateway. @type {string | null} */
  #shown = null;
  /** The last token that the gateway refused. @type {string | null} */
  #refused = null;
  #refusals = 0;
  #patient = true; // whether the clocks may be the reason for a refusal
  #fixed;

  /** @param {boolean} fixed whether there is only one token */
  constructor(fixed) {
    this.#fixed = fixed;
  }

  /** Why no other token would help, or that there is none; empty while one may help. */
  get exhausted() {
    if (this.#refusals >= MOST_REFUSALS) return this.#refusal(`after ${MOST_REFUSALS - 1} others`);
    return this.#fixed && this.#refused !== null && this.kept === null ? this.#refusal("and there is no other one") : "";
  }

  /**
   * The token for a new connection.
   *
   * @param {string} token
   * @throws {Refused} the gateway refused it before
   */
  show(token) {
    if (token === this.#refused) throw new Refused(this.#refusal("and `token` gave the same one again"));
    this.#shown = token;
    this.kept = null;
    return token;
  }

  /** The token to send on the open connection; null if it is not a new one. @param {string} token */
  renew(token) {
    const again = this.kept;
    this.kept = null;
    if (token !== again && (token === this.#shown || token === this.#refused)) return null;
    this.#shown = token;
    return token;
  }

  /** Schedule the renewal of the token that the connection was opened with, or renewed. */
  connected() {
    if (this.#shown !== null) this.renewal.shown(this.#shown);
  }

  /** Record that the gateway accepted the token. */
  accept() {
    this.#refused = null;
    this.#refusals = 0;
    this.#patient = true;
  }

  /** Allow the same token again: the gateway has no key for it yet. */
  postpone() {
    this.#shown = null;
  }

  /**
   * Record that the gateway refused the token.
   *
   * @returns {number} seconds until the same token should be sent again, because the clock of the gateway may be behind;
   *   0 if another one is needed
   */
  refuse() {
    const iat = this.#shown === null ? null : claim(this.#shown, "iat");
    if (this.#patient && iat !== null && Math.abs(wall() - iat) < SKEW) {
      this.kept = this.#shown;
      return AGAIN;
    }
    this.#patient = false;
    this.#refusals += 1;
    this.spend();
    return 0;
  }

  /** Record that the gateway refused a token on the open connection, which continues. */
  refuseRenewal() {
    const seconds = this.refuse();
    if (seconds) this.renewal.again(seconds);
    else if (this.exhausted) this.renewal.stop();
  }

  /** Require another token: the session of this one has ended. */
  spend() {
    this.#refused = this.#shown;
  }

  /** @param {string} besides */
  #refusal(besides) {
    const why = (this.#refused !== null && expired(this.#refused)) || IN_THE_LOG;
    return `the gateway refuses this token, ${besides}: ${why}`;
  }
}

/**
 * The result of a token function.
 *
 * @param {unknown} token
 * @param {string} given where it comes from
 * @returns {string}
 * @throws {TypeError} it is not a token
 */
export function checked(token, given = "the token function returned") {
  if (typeof token !== "string") throw new TypeError(`a token has to be a string; ${given} ${typeof token}`);
  if (!token) throw new TypeError(`${given} an empty text; for a visitor, create a client without \`token\``);
  if (/\s/.test(token)) throw new TypeError("a token is a string without spaces: leave out `Bearer`");
  return token;
}
