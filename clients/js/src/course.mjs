// The course of a client, connection after connection.

import { CALLBACKS, lineOf } from "./callbacks.mjs";
import { milliseconds, now, wall } from "./clocks.mjs";
import { Conversation, NOT_BY_THE_PROXY } from "./conversation.mjs";
import { Credentials, checked } from "./credentials.mjs";
import { Ended, LOST, NEW_TOKEN, NO_RETURN, NoToken, Pauses, Refused, TOO_FAST, UNAUTHORIZED } from "./errors.mjs";
import { Line } from "./line.mjs";
import { watch } from "./page.mjs";
import { Source } from "./source.mjs";
import { Streams } from "./streams.mjs";
import { checkHeaders, connector } from "./websocket.mjs";

const ANSWER = 30; // wait for the answer to the token: a worker that has just started may read its history first
const CALL = 30; // wait for a token or headers before connecting; then report an error and try again later

/**
 * @typedef {object} Setting
 * @property {import("./route.mjs").Route} route
 * @property {string | (() => string | Promise<string>) | undefined} token
 * @property {boolean} byProxy
 * @property {string | null} cursor
 * @property {import("./view.mjs").View} view
 * @property {number} silence seconds
 * @property {number} longestPause seconds
 * @property {import("./callbacks.mjs").Callbacks} callbacks
 * @property {import("./websocket.mjs").Connecting} connecting
 * @property {(message: string) => void} log
 */

export class Course {
  /** @type {string | null} */
  cursor;
  /** @type {"disconnected" | "connecting" | "connected" | "closed"} */
  state = "disconnected";

  /** The streams that the client wants. @type {Streams} */
  streams;
  #set;
  /** @type {Source<string> | null} */
  #tokens;
  #headers;
  #credentials;
  #pauses;
  /** @type {Line | null} */
  #line = null;
  #stop = () => {}; // ends the current wait
  #mayHurry = false; // whether the current wait is not a delay that the gateway asked for

  /** @param {Setting} setting */
  constructor(setting) {
    const { route, token, cursor, view, connecting } = (this.#set = setting);
    const { headers } = connecting;
    const give = async () => checked(typeof token === "function" ? await token() : token);
    this.#tokens = token === undefined ? null : new Source(give, () => this.#line?.nudge());
    this.#headers = new Source(async () => checkHeaders(typeof headers === "function" ? await headers() : headers));
    this.#credentials = new Credentials(typeof token === "string");
    this.#pauses = new Pauses(setting.longestPause);
    this.streams = new Streams(route, view);
    this.cursor = cursor;
  }

  // ---- called by the user of the client

  /** @param {string} event @param {object} fields @param {{ timeout: number, signal?: AbortSignal }} options */
  async request(event, fields, options) {
    if (this.state !== "connected" || !this.#line?.isOpen)
      throw new Error("not connected; wait for the callback `connected`, or try again");
    return this.#line.request(() => this.streams.turn(), event, fields, options);
  }

  close() {
    this.state = "closed";
    this.streams.leave();
    this.#line?.close();
    this.#stop();
  }

  // ---- the course

  /** @returns {AsyncGenerator<import("../peatio-client.mjs").PeatioEvent, void, undefined>} */
  async *run() {
    this.#pauses.reset();
    const unwatch = watch({ offline: () => this.#line?.abandon("the browser is offline"), wake: () => this.#hurry() });
    try {
      while (!this.#isClosed()) {
        this.#become("connecting");
        const began = now();
        let ended = new Ended(1000, "");
        try {
          yield* this.#connect();
        } catch (error) {
          if (!(error instanceof Ended)) throw error;
          ended = error;
        }
        if (this.state === "connected") this.#pauses.connected(now() - began);
        const lost = this.#forget();
        for (const book of lost) await this.#tell("stale", book);
        if (!this.#isClosed()) await this.#pause(ended);
      }
    } finally {
      unwatch();
      this.#forget();
    }
  }

  /** Connect at once, or check the connection: the network or the page is back. */
  #hurry() {
    this.#line?.check();
    if (!this.#mayHurry) return;
    this.#pauses.reset();
    this.#stop();
  }

  /** @param {Ended} ended */
  async #pause(ended) {
    const { code, reason } = ended;
    let why = this.#credentials.exhausted;
    if (code === TOO_FAST) this.streams.slowDown();
    if (NO_RETURN.includes(code)) why = `closed: ${code} ${reason}; reconnecting would fail again`;
    else if (code === UNAUTHORIZED && !this.#tokens && (why || typeof this.#set.connecting.headers !== "function"))
      why = this.#set.byProxy ? NOT_BY_THE_PROXY : `${reason}: the gateway requires a token here`;
    const { pause, asked } = this.#pauses.after(ended);
    await this.#tell("disconnected", { code, reason, pause: why ? null : pause });
    if (why) throw new Refused(why);
    if (this.#isClosed()) return;
    this.#mayHurry = !asked;
    await this.#sleep(pause);
    this.#mayHurry = false;
  }

  /** Connect, and follow one connection to its end. */
  async *#connect() {
    const { route, byProxy, silence, callbacks, connecting, log } = this.#set;
    const token = await this.#askForToken();
    const connect = await connector(connecting);
    const headers = await this.#result(this.#headers, "no headers");
    if (!headers) return; // closed
    const { wanted: streams, trades } = this.streams;
    const wishes = { streams, token, byProxy, cursor: this.cursor, notices: callbacks.has("notice"), trades };
    const conversation = new Conversation(route.url, wishes);
    const { address } = conversation;
    log(`connecting to ${new URL(address).host}`);
    const { Origin, origin = Origin } = headers;
    const line = new Line(connect(address, headers), { address, silence, origin, byProxy });
    this.#line = line;
    try {
      await line.open();
      this.streams.join(conversation, line);
      this.#credentials.connected();
      const deadline = now() + ANSWER;
      while (!this.#isClosed()) yield* this.#listen(line, conversation, deadline);
    } catch (error) {
      if (error instanceof Ended && error.code === UNAUTHORIZED)
        error.asked = Math.max(error.asked, this.#credentials.refuse());
      else if (error instanceof Ended && NEW_TOKEN.includes(error.code)) this.#credentials.spend();
      throw error;
    }
  }

  async #askForToken() {
    const { kept } = this.#credentials;
    if (!this.#tokens || kept) return kept && this.#credentials.show(kept);
    const token = await this.#result(this.#tokens);
    return token && this.#credentials.show(token);
  }

  /**
   * Wait for the result of a function of the user. A call that takes longer than `CALL` continues, for the next time.
   *
   * @template Result
   * @param {Source<Result>} source
   * @param {string} [lack] as in `#taken`
   * @returns {Promise<Result | null>} null after `close()`
   */
  async #result(source, lack) {
    source.ask();
    if (!source.has) {
      await Promise.race([source.asked, this.#sleep(CALL)]);
      this.#stop();
    }
    if (this.#isClosed()) return null;
    const result = await this.#taken(source, lack);
    if (result === undefined) throw new Ended(LOST, "no token");
    return result;
  }

  /**
   * Return the result of a function of the user. If there is none, report that, and return undefined.
   *
   * @template Result
   * @param {Source<Result>} source
   * @param {string} [lack] what to report if the call still runs
   */
  async #taken(source, lack = "none") {
    let why = `${lack} within ${CALL} s`;
    try {
      const result = source.take();
      if (result !== undefined) return result;
    } catch (error) {
      if (!(error instanceof NoToken)) throw error;
      why = error.message;
    }
    await this.#tell("error", `no token: ${why}`);
    return undefined;
  }

  /**
   * Do what is due, then read one frame and follow it.
   *
   * @param {Line} line
   * @param {Conversation} conversation
   * @param {number} deadline
   */
  async *#listen(line, conversation, deadline) {
    let seconds = deadline - now();
    if (conversation.live) {
      const { renewal } = this.#credentials;
      if (this.#tokens?.has || renewal.due <= wall()) await this.#renew(line, conversation);
      for (const message of this.streams.late()) await this.#tell("error", message);
      this.streams.askAgain();
      seconds = Math.min(renewal.due - wall(), this.streams.seconds());
    }
    const text = await line.receive(Math.max(0, seconds));
    if (text === null) {
      if (!conversation.live && now() >= deadline) throw new Ended(LOST, `no answer within ${ANSWER} s`);
      return;
    }
    for (const step of conversation.take(text)) {
      if (this.#isClosed()) return;
      if ("event" in step) yield* this.#handOver(step.event);
      else await this.#follow(line, conversation, step);
    }
  }

  /** Send a fresh token on the open connection. Events continue while the token function runs. @param {Line} line @param {Conversation} conversation */
  async #renew(line, conversation) {
    const { kept, renewal } = this.#credentials;
    if (!this.#tokens) return;
    renewal.putOff(); // until the function or the gateway answers, no other token is needed
    if (!kept && !this.#tokens.has) return this.#tokens.ask();
    const token = kept ?? (await this.#taken(this.#tokens));
    const fresh = token === undefined ? null : this.#credentials.renew(token);
    if (fresh !== null) line.say(conversation.renew(fresh));
  }

  /** @param {Line} line @param {Conversation} conversation @param {Exclude<import("./conversation.mjs").Step, { event: any }>} step */
  async #follow(line, conversation, step) {
    if ("say" in step) {
      line.say(step.say);
    } else if ("live" in step) {
      this.#become("connected");
      this.#credentials.accept();
      await this.#tell("connected", { streams: step.live });
      this.streams.speak();
    } else if ("place" in step) {
      const { cursor, complete } = step.place;
      if (!complete) await this.#tell("gap", { cursor });
      this.cursor = cursor; // only now: if a callback threw, the gap has to be reported again
    } else if ("missed" in step) {
      await this.#tell("missed", { stream: step.missed });
    } else if ("resumed" in step) {
      await this.#tell("resumed", step.resumed);
    } else if ("notice" in step) {
      await this.#tell("notice", step.notice);
    } else if ("renewed" in step) {
      this.#credentials.accept();
      this.#credentials.connected();
    } else {
      if (step.postponed) this.#credentials.postpone();
      await this.#tell("error", step.complaint);
      if (step.refused && !conversation.live) throw new Ended(UNAUTHORIZED, step.complaint);
      if (step.refused) this.#credentials.refuseRenewal();
    }
  }

  /** @param {import("../peatio-client.mjs").PeatioEvent} event */
  async *#handOver(event) {
    for (const [name, what] of this.streams.shelf.take(event)) await this.#tell(name, what);
    // A private stream may have the name of another callback.
    if (!CALLBACKS.includes(event.stream)) await this.#tell(event.stream, event);
    await this.#tell("event", event);
    this.#set.log(`event of ${event.stream}, ${event.text.length} characters`);
    yield event;
    this.streams.trades.seen(event);
    if (event.cursor !== null) this.cursor = event.cursor;
  }

  /** Forget the connection, if there is one. Return the books that were current. */
  #forget() {
    this.#line?.close();
    this.#line = null;
    this.#become("disconnected");
    return this.streams.leave();
  }

  /** @param {string} name @param {any} what */
  async #tell(name, what) {
    const { callbacks, log } = this.#set;
    const line = lineOf(name, what);
    if (line) log(line);
    if (line && !["connected", "missed", "resumed"].includes(name) && !callbacks.has(name)) console.warn(`peatio-client: ${line}`);
    await callbacks.call(name, what);
  }

  /** @param {"disconnected" | "connecting" | "connected"} state */
  #become(state) {
    if (!this.#isClosed()) this.state = state;
  }

  #isClosed() {
    return this.state === "closed";
  }

  /** @param {number} seconds */
  #sleep(seconds) {
    return new Promise((/** @type {(value?: undefined) => void} */ resolve) => {
      const timer = setTimeout(resolve, milliseconds(seconds));
      this.#stop = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
