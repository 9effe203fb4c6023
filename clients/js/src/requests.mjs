// Requests to handlers of the gateway, and their answers, which carry the same `echo`. Knows no socket.

import { milliseconds } from "./clocks.mjs";
import { RequestFailed, timedOut } from "./errors.mjs";

const NOT_SENT = "the connection ended before the request was sent";
const MOST_GIVEN_UP = 100; // requests whose late answers are dropped
const LOST = "the connection ended before the answer; the handler may have run";

/** The requests of a connection that wait for an answer. */
export class Requests {
  #last = 0;
  /** @type {Map<number, (frame: any) => void>} */
  #waiting = new Map();
  /** @type {Set<number>} */
  #givenUp = new Set();

  get waiting() {
    return this.#waiting.size > 0;
  }

  /**
   * Send a message, and wait for its answer.
   *
   * @param {(text: string) => void} say
   * @param {() => number} turn the seconds until the message may be sent; with 0, it counts as sent
   * @param {string} event
   * @param {object} fields
   * @param {{ timeout: number, signal?: AbortSignal }} options
   * @returns {Promise<any>}
   */
  async ask(say, turn, event, fields, { timeout, signal }) {
    if (event === "subscribe" || event === "unsubscribe")
      throw new TypeError(`${event} is not a handler; use the method ${event}()`);
    signal?.throwIfAborted();
    const echo = (this.#last += 1);
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let pause;
    let abort = () => {};
    let isSent = false;
    const answered = new Promise((resolve, reject) => {
      this.#waiting.set(echo, (frame) => (frame ? resolve(frame) : reject(new Error(isSent ? LOST : NOT_SENT))));
      if (timeout < Infinity)
        timer = setTimeout(() => reject(timedOut(`${event} was not answered within ${timeout} s`)), milliseconds(timeout));
      abort = () => reject(signal?.reason);
      signal?.addEventListener("abort", abort);
    });
    try {
      for (let seconds = turn(); seconds; seconds = turn()) {
        const later = new Promise((resolve) => (pause = setTimeout(resolve, milliseconds(seconds))));
        await Promise.race([answered, later]);
      }
      isSent = true;
      say(JSON.stringify({ ...fields, event, echo }));
      const frame = await answered;
      if (frame.error === undefined) return frame;
      throw new RequestFailed(String(frame.error?.message ?? frame.error));
    } finally {
      clearTimeout(timer);
      clearTimeout(pause);
      signal?.removeEventListener("abort", abort);
      if (this.#waiting.delete(echo) && isSent) this.#giveUp(echo);
    }
  }

  /** Drop the answer to this request if it comes later. @param {number} echo */
  #giveUp(echo) {
    this.#givenUp.add(echo);
    const [oldest] = this.#givenUp;
    if (this.#givenUp.size > MOST_GIVEN_UP) this.#givenUp.delete(oldest);
  }

  /** Pass a frame to the request that it answers. @param {string} text @returns {boolean} whether it is an answer */
  take(text) {
    if (!(this.waiting || this.#givenUp.size) || !text.includes('"echo"')) return false;
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return false;
    }
    if (this.#givenUp.has(frame?.echo)) return true;
    const settle = this.#waiting.get(frame?.echo);
    if (!settle) return false;
    this.#waiting.delete(frame.echo);
    delete frame.echo;
    settle(frame);
    return true;
  }

  /** End all requests: the connection ended. */
  lose() {
    for (const settle of this.#waiting.values()) settle(null);
  }
}
