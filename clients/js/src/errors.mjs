// The errors of a client, and how a connection ended.

/** Reconnecting would not help; the message says why. */
export class Refused extends Error {
  name = "Refused";
}

/**
 * No token is available now. A `token` function throws it, so that the client asks again later; any other error that it
 * throws ends the client.
 */
export class NoToken extends Error {
  name = "NoToken";
}

/** The gateway answered a request with an error; the message is the gateway's. */
export class RequestFailed extends Error {
  name = "RequestFailed";
}

export const LOST = 1006; // the connection ended without a close code
export const UNAUTHORIZED = 401;
export const TOO_FAST = 1008; // too many messages or failed tokens: reconnect later, with fewer messages
export const NO_RETURN = [1002, 1003, 1007, 1009]; // close codes after which a new connection would fail in the same way
export const NEW_TOKEN = [4401, 4403];

export const FIRST_PAUSE = 0.5; // seconds, as all times here
export const LONGEST_PAUSE = 30; // if the option `longestPause` does not say another
const STEADY = 30; // after a connection of this length, the pauses start from the beginning
const LONGEST_ASKED = 300; // the client waits no longer, whatever delay the gateway asks for
const FULL_PAUSE = 5; // lowest pause if the gateway is full and sent no delay
const NO_ROOM = [429, 503, 1013];

/** How a connection ended. Thrown only by code that talks to the gateway, never by a callback. */
export class Ended extends Error {
  /** @param {number} code @param {string} reason @param {number} [asked] seconds */
  constructor(code, reason, asked = 0) {
    super(reason);
    this.code = code;
    this.reason = reason;
    this.asked = asked;
  }
}

/**
 * The pauses before reconnecting: they grow, with full jitter, so that many clients that were disconnected at the same
 * time do not reconnect at the same time. They are added to the delay that the gateway asked for.
 */
export class Pauses {
  #failures = 0;
  #longest;

  /** @param {number} longest seconds, without the delay that the gateway asked for */
  constructor(longest) {
    this.#longest = longest;
  }

  /** Start from the beginning if a connection lasted long enough. @param {number} seconds */
  connected(seconds) {
    if (seconds > STEADY) this.reset();
  }

  /** Start from the beginning. */
  reset() {
    this.#failures = 0;
  }

  /**
   * The next pause.
   *
   * @param {Ended} ended
   * @returns {{ pause: number, asked: number }} seconds; `asked` is the part that the gateway asked for
   */
  after({ code, asked }) {
    if ((NO_ROOM.includes(code) || code === TOO_FAST) && !asked) {
      // A place is unlikely to become free at once.
      this.#failures = Math.max(this.#failures, 4);
      asked = FULL_PAUSE;
    }
    const jitter = Math.random() * Math.min(this.#longest, FIRST_PAUSE * 2 ** this.#failures);
    this.#failures += 1;
    asked = Math.min(asked, LONGEST_ASKED);
    return { pause: asked + jitter, asked };
  }
}

/** A timeout that passed, as `AbortSignal.timeout` reports it. @param {string} message */
export function timedOut(message) {
  return new DOMException(message, "TimeoutError");
}
