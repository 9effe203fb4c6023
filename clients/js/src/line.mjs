// A WebSocket whose frames are read one by one.

import { milliseconds, now } from "./clocks.mjs";
import { Ended, LOST } from "./errors.mjs";
import { http, notOpened } from "./reasons.mjs";
import { Requests } from "./requests.mjs";

const OPEN = 10;
const CHECK = 5; // wait for the answer to a ping after the page was away
const FEW_FRAMES = 16; // frames that wait for the consumer before reading stops, if it can be stopped
const MOST_FRAMES = 1000; // if it cannot: then the client disconnects
const MOST_LENGTH = 8 * 2 ** 20; // size of these frames together, in UTF-16 units

export class Line {
  /** Requests to handlers on this connection. */
  requests = new Requests();

  #socket;
  #silence;
  #ask;
  /** @type {string[]} */
  #frames = [];
  #length = 0;
  #opened = false;
  #paused = false;
  /** How the connection ended; thrown after the waiting frames. @type {Ended | null} */
  #ended = null;
  #failure = "connection lost";
  #asked = 0; // when a ping was sent; 0 after a sign of life
  #nudged = false;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #pulse;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #checking;
  /** Wakes `receive`. */
  #wake = () => {};

  /**
   * @param {any} socket
   * @param {{ address: string, silence: number, origin?: string, byProxy?: boolean }} options `silence` in seconds;
   *   `origin`: of the request; `byProxy`: whether a proxy authenticates the client
   */
  constructor(socket, { address, silence, origin, byProxy }) {
    this.#socket = socket;
    this.#silence = silence;
    this.#ask = socket.ping ? () => socket.ping() : () => socket.send("ping");
    this.#pulse = setInterval(() => this.#feel(), milliseconds(silence / 3));
    socket.addEventListener("open", () => {
      this.#opened = true;
      this.#wake();
    });
    socket.addEventListener("message", (/** @type {{ data: unknown }} */ { data }) => this.#put(String(data)));
    socket.addEventListener("error", (/** @type {{ error?: any, message?: string }} */ event) => {
      this.#failure = this.#opened ? event.message || this.#failure : notOpened(address, event, byProxy);
      // Node 22 reports a failed connection by this event alone (undici 6, nodejs/undici#3546).
      if (!this.#opened) this.#end(new Ended(LOST, this.#failure));
    });
    socket.addEventListener("close", (/** @type {{ code: number, reason: string }} */ { code, reason }) =>
      this.#end(new Ended(code, reason || this.#failure, Number(/retry after (\d{1,9})/.exec(reason)?.[1] ?? 0))),
    );
    // Events that only `ws` has.
    socket.on?.("pong", () => this.#live());
    socket.on?.("unexpected-response", (/** @type {any} */ request, /** @type {any} */ response) => {
      let text = "";
      const isText = (response.headers["content-type"] ?? "").startsWith("text/plain");
      response.setEncoding("utf8").on("data", (/** @type {string} */ part) => (text += isText ? part : ""));
      response.on("close", () => {
        const later = /^\d{1,9}$/.exec(response.headers["retry-after"] ?? "")?.[0] ?? 0;
        this.#end(new Ended(response.statusCode, http(response.statusCode, text, origin), Number(later)));
        request.destroy();
      });
    });
  }

  /** Resolves when the connection is open. */
  async open() {
    await this.#until(OPEN, () => this.#opened);
    if (!this.#opened && !this.#ended) this.abandon(`no connection within ${OPEN} s`);
    if (this.#ended) throw this.#ended;
  }

  /**
   * The next frame.
   *
   * @param {number} seconds
   * @returns {Promise<string | null>} null after `seconds`, or earlier
   */
  async receive(seconds) {
    if (!this.#frames.length && !this.#ended)
      await this.#until(seconds, () => this.#frames.length > 0 || this.#nudged);
    this.#nudged = false;
    const text = this.#frames.shift();
    if (text === undefined) {
      if (this.#ended) throw this.#ended;
      return null;
    }
    this.#length -= text.length;
    if (this.#frames.length < FEW_FRAMES / 2) this.#resume();
    return text;
  }

  /** Whether messages can be sent; `receive` may still return frames of a connection that has ended. */
  get isOpen() {
    return !this.#ended && this.#socket.readyState === 1;
  }

  /** Make `receive` return without a frame. */
  nudge() {
    this.#nudged = true;
    this.#wake();
  }

  /** @param {string} text */
  say(text) {
    if (this.isOpen) this.#socket.send(text);
  }

  /**
   * Send a message to a handler, and wait for its answer. Frames are read in the meantime.
   *
   * @param {() => number} turn as for `Requests.ask`
   * @param {string} event
   * @param {object} fields
   * @param {{ timeout: number, signal?: AbortSignal }} options
   * @returns {Promise<any>}
   */
  request(turn, event, fields, options) {
    const answer = this.requests.ask((text) => this.say(text), turn, event, fields, options);
    this.#resume();
    return answer;
  }

  /** Check soon whether the connection still works, because the page was away. */
  check() {
    if (!this.isOpen) return;
    const asked = (this.#asked = now());
    this.#ask();
    clearTimeout(this.#checking);
    // Unless a later ping waits for its answer.
    this.#checking = setTimeout(() => this.#asked === asked && this.abandon("no sign of life"), milliseconds(CHECK));
  }

  /** Close with a closing handshake; drop waiting frames. */
  close() {
    this.#frames = [];
    this.#end(new Ended(1000, ""));
  }

  /** The peer may be gone, so do not wait for its close frame. @param {string} reason */
  abandon(reason) {
    this.#end(new Ended(LOST, reason));
    this.#socket.terminate?.();
  }

  /** @param {number} seconds @param {() => boolean} isDone */
  async #until(seconds, isDone) {
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    const late = new Promise((/** @type {(late: true) => void} */ resolve) => {
      if (seconds < Infinity) timer = setTimeout(resolve, milliseconds(seconds), true);
    });
    while (!isDone() && !this.#ended) {
      const woken = new Promise((/** @type {(late: false) => void} */ resolve) => (this.#wake = () => resolve(false)));
      if (await Promise.race([late, woken])) break;
    }
    clearTimeout(timer);
  }

  /** @param {string} text */
  #put(text) {
    if (this.#ended) return;
    this.#live();
    if (text === "pong" || this.requests.take(text)) return;
    this.#frames.push(text);
    this.#length += text.length;
    this.#wake();
    const full = this.#frames.length >= MOST_FRAMES || this.#length >= MOST_LENGTH;
    if (this.#frames.length >= FEW_FRAMES && this.#socket.pause && !this.requests.waiting) {
      if (!this.#paused) this.#socket.pause();
      this.#paused = true;
    } else if (full) {
      this.#end(new Ended(LOST, "too many frames wait for the program, which is too slow"));
    }
  }

  #resume() {
    if (!this.#paused) return;
    this.#paused = false;
    this.#live();
    this.#socket.resume();
  }

  #live() {
    this.#asked = 0;
  }

  // A background page is woken only once a minute, so compare how long an answer has been due.
  #feel() {
    if (this.#paused) return;
    if (this.#asked && now() - this.#asked >= this.#silence / 2) return this.abandon("no sign of life");
    if (this.#asked || this.#socket.readyState !== 1) return;
    this.#asked = now();
    this.#ask();
  }

  /** Ignore this socket from now on. @param {Ended} ended */
  #end(ended) {
    if (this.#ended) return;
    this.#ended = ended;
    clearInterval(this.#pulse);
    clearTimeout(this.#checking);
    if (this.#paused) this.#socket.resume(); // otherwise it would not see the peer's close frame
    this.#socket.close(1000);
    this.requests.lose();
    this.#wake();
  }
}
