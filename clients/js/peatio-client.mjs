/**
 * A client for the gateway that loses no fill: it comes back after a lost line, and goes on where it was. For browsers,
 * and for Node 20 and later.
 *
 *     const client = new PeatioClient("wss://exchange.example/", { token: fetchToken })
 *       .on("trade", ({ data }) => book(data))
 *       .on("gap", () => bookAll(askOverRest()));
 *     await client.run();
 *
 * One file; in Node 20 it needs the package `ws`, later and in browsers nothing. A page's origin has to be among the
 * gateway's API_CORS_ORIGINS.
 *
 * *What is promised.* Every private event is handed over once, in order, however often the line is cut: the client
 * keeps the cursor of the last one, and the gateway sends what followed. An event counts as taken once every callback
 * for it has returned; promises are not waited for, because a WebSocket cannot be told to wait. If a callback throws,
 * `run()` rejects with that, and the event comes again with the next `run()`. Where the gateway cannot promise that
 * nothing is missing, "gap" is called before anything newer: read orders and trades over REST then. Public streams are
 * not resumed; a book begins anew with its snapshot.
 *
 * *A dead line* is noticed within a minute, where it can be asked: in Node by `ws`'s pings, elsewhere by Ranger's
 * `ping`, that is, where `streams` are given. The classic protocol has nothing to ask with, and pages do not see the
 * gateway's pings: there it takes until the browser finds out. A page that cares asks for
 * `streams: ["order", "trade"]`.
 */

const FIRST_PAUSE = 0.5; // seconds, as all times here
const LONGEST_PAUSE = 30;
const LONGEST_ASKED = 300; // whoever asks for a longer pause than this is asked again
const FULL_PAUSE = 5; // at least, where there is no room
const STEADY = 30; // a connection that was good for so long starts the pauses anew
const OPEN = 10;
const ANSWER = 30; // to the token: a worker that has just started may read its history first
const MOST_REFUSALS = 3; // tokens refused in a row, each another one, before it is given up
const NO_RETURN = [1002, 1003, 1007, 1008, 1009]; // close codes after which the same would happen again
const NEW_TOKEN = [401, 4401, 4403];
const NO_ROOM = [429, 503, 1013];
const LOST = 1006; // nobody said why
const NAMES = ["order", "trade", "event", "gap", "connected", "disconnected", "error"];

/** Coming back would not help. A `token` function may throw it, too, to end the client. */
export class Refused extends Error {}

/**
 * Something that happened.
 *
 * @typedef {object} PeatioEvent
 * @property {string} stream `order` or `trade` for what is the member's own, else the stream's name
 * @property {any} data its body
 * @property {string | null} cursor where the client is behind it; null for public streams
 * @property {string} text the frame as it came, for those who need every digit of a number
 */

/**
 * A connection that ended, or did not come about.
 *
 * @typedef {object} Disconnected
 * @property {number} code the close code; 1006 if nobody said; an HTTP status where it can be seen
 * @property {string} reason
 * @property {number | null} pause seconds until the next attempt; null if there is none
 */

/**
 * @typedef {object} Callbacks
 * @property {(event: PeatioEvent) => void} order
 * @property {(event: PeatioEvent) => void} trade
 * @property {(event: PeatioEvent) => void} event every event, whatever its stream
 * @property {(gap: { cursor: string | null }) => void} gap something may be missing; where it goes on from
 * @property {(live: { streams: string[] }) => void} connected authenticated and subscribed
 * @property {(end: Disconnected) => void} disconnected
 * @property {(message: string) => void} error what the gateway complained of
 */

/**
 * How a connection ended.
 *
 * @typedef {object} Ending
 * @property {number} code
 * @property {string} reason
 * @property {number} [asked] seconds
 * @property {{ error: unknown }} [thrown] by a callback
 */

/** A member's orders and trades, and streams, over as many connections as it takes. */
export class PeatioClient {
  /** Of the last event taken. @type {string | null} */
  cursor;
  /** What it is about. @type {"disconnected" | "connecting" | "connected" | "closed"} */
  state = "disconnected";

  #url;
  #token;
  /** @type {string[]} */
  #streams;
  #silence;
  #WebSocket;
  /** @type {Record<string, Function[]>} */
  #callbacks = Object.fromEntries(NAMES.map((name) => [name, []]));
  /** @type {string | null} the token that is no good any more */
  #refused = null;
  #refusals = 0;
  #failures = 0;
  #running = false;
  #stop = () => {}; // ends what is waited for

  /**
   * @param {string} url of the gateway
   * @param {object} [options]
   * @param {() => string | Promise<string>} [options.token] called for each connection; gives the session's token, a
   *   fresh one if it can. What it throws is told as an "error" and it is asked again later, but for `Refused`. None for
   *   public streams only.
   * @param {string[]} [options.streams] to be subscribed to, private ones (`order`, `trade`) too; then Ranger's protocol
   *   is spoken. Without any it is the classic one, with all orders and trades of the member.
   * @param {string | null} [options.cursor] of the last event that was taken earlier; null to begin now
   * @param {number} [options.silence] seconds without a sign of life after which a line is dead
   * @param {any} [options.WebSocket] instead of the global one, or `ws`
   */
  constructor(url, { token, streams = [], cursor = null, silence = 60, WebSocket } = {}) {
    const parts = new URL(url);
    const named = parts.searchParams.getAll("stream").flatMap((names) => names.split(","));
    parts.searchParams.delete("stream");
    this.#streams = [...new Set([...named, ...streams])].filter(Boolean);
    const segments = parts.pathname.replace(/\/+$/, "").split("/");
    if (!this.#streams.length && (["public", "private"].includes(segments.at(-1) ?? "") || segments.includes("ranger")))
      throw new TypeError("a path of Ranger's needs streams");
    if (!token && !(this.#streams.length && this.#streams.every(isPublic)))
      throw new TypeError("only public streams come without a token");
    if (this.#streams.length) {
      // The token comes by a message, because pages cannot send it along; `…/private` would ask for it earlier.
      parts.pathname = parts.pathname.replace(/\/private(\/*)$/, "/public$1");
      for (const name of this.#streams.filter(isPublic)) parts.searchParams.append("stream", name);
      if (!parts.searchParams.has("stream")) parts.searchParams.append("stream", "");
    }
    this.#url = parts.href;
    this.#token = token;
    this.#silence = silence;
    this.#WebSocket = WebSocket;
    this.cursor = cursor;
  }

  /**
   * Have a callback called.
   *
   * @template {keyof Callbacks} Name
   * @param {Name} name
   * @param {Callbacks[Name]} callback
   * @returns {this}
   */
  on(name, callback) {
    if (!NAMES.includes(name)) throw new TypeError(`${name} is none of ${NAMES.join(", ")}`);
    this.#callbacks[name].push(callback);
    return this;
  }

  /**
   * Serve the callbacks.
   *
   * @returns {Promise<void>} resolves after `close()`; rejects with `Refused` where coming back would not help, and
   *   with what a callback threw
   */
  async run() {
    if (this.#running) throw new Error("it runs already");
    this.#running = true;
    try {
      while (this.state !== "closed") await this.#connectOnce();
    } finally {
      this.#running = false;
    }
  }

  /** End it, with a closing handshake where there is a connection; harmless a second time. */
  close() {
    this.state = "closed";
    this.#stop();
  }

  /** One connection, and the pause after it. */
  async #connectOnce() {
    this.#become("connecting");
    const began = now();
    const ending = await this.#attempt();
    const wasLive = this.state === "connected";
    this.#become("disconnected");
    if (ending.thrown) throw ending.thrown.error;
    if (this.#isClosed()) return;

    const { code, reason } = ending;
    if (wasLive && now() - began > STEADY) this.#failures = 0;
    if (NO_RETURN.includes(code)) this.#giveUp(ending, `closed: ${code} ${reason}; it would happen again`);
    if (this.#refusals >= MOST_REFUSALS)
      this.#giveUp(ending, `the gateway does not take this token, nor ${MOST_REFUSALS - 1} before it`);
    const pause = this.#pause(ending.asked ?? 0, NO_ROOM.includes(code));
    this.#tell("disconnected", { code, reason, pause });
    if (!this.#isClosed()) await this.#sleep(pause);
  }

  /**
   * @param {Ending} ending
   * @param {string} why
   */
  #giveUp({ code, reason }, why) {
    this.#tell("disconnected", { code, reason, pause: null });
    throw new Refused(why);
  }

  /**
   * How long to wait before coming back: growing, with full jitter, so that many who left together do not return
   * together; on top of what the gateway asked for.
   *
   * @param {number} asked
   * @param {boolean} full whether there was no room; there will hardly be any at once
   */
  #pause(asked, full) {
    if (full) {
      this.#failures = Math.max(this.#failures, 4);
      asked = Math.max(asked, FULL_PAUSE);
    }
    const jitter = Math.random() * Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** this.#failures);
    this.#failures += 1;
    return Math.min(asked, LONGEST_ASKED) + jitter;
  }

  /** @returns {Promise<Ending>} */
  async #attempt() {
    let token = null;
    if (this.#token) {
      try {
        token = await this.#token();
      } catch (error) {
        if (error instanceof Refused) throw error;
        // As likely as not, what gives tokens is out of reach along with the gateway.
        this.#tell("error", `no token: ${error}`);
        return { code: LOST, reason: "no token" };
      }
      if (token === this.#refused)
        throw new Refused("the gateway does not take this token any more, and there is no other");
    }
    const WebSocket = this.#WebSocket ?? globalThis.WebSocket ?? (await ws());
    if (this.#isClosed()) return { code: 1000, reason: "" };
    const ending = await this.#converse(new WebSocket(this.#url), token);
    if (NEW_TOKEN.includes(ending.code)) {
      this.#refused = token;
      if (ending.code === 401) this.#refusals += 1;
    }
    return ending;
  }

  /**
   * One connection, from its first frame to its end.
   *
   * @param {any} socket
   * @param {string | null} token
   * @returns {Promise<Ending>}
   */
  #converse(socket, token) {
    return new Promise((resolve) => {
      const ranger = this.#streams.length > 0;
      const rest = this.#streams.filter((name) => !isPublic(name));
      /** What the gateway is expected to answer. @type {"first" | "token" | "streams" | "nothing"} */
      let awaited = "first";
      /** Told once the client is live. @type {{ cursor: string | null, complete: boolean } | null} */
      let place = null;
      let over = false;
      let failure = "connection lost";
      let asked = 0; // when the line was asked for a sign of life; 0 once there was one
      /** @type {ReturnType<typeof setTimeout>} */
      let deadline;
      /** @type {ReturnType<typeof setInterval> | undefined} */
      let pulse;

      /** Nothing of this socket counts after this. @param {Ending} ending */
      const end = (ending) => {
        if (over) return;
        over = true;
        clearTimeout(deadline);
        clearInterval(pulse);
        this.#stop = () => {};
        socket.close(1000);
        resolve(ending);
      };
      /** @param {number} seconds @param {string} otherwise */
      const within = (seconds, otherwise) => {
        clearTimeout(deadline);
        deadline = setTimeout(() => abandon(otherwise), seconds * 1000);
      };
      /** The other side may not be there any more: its close frame is not waited for. @param {string} reason */
      const abandon = (reason) => {
        end({ code: LOST, reason });
        socket.terminate?.();
      };
      /** @param {object} message */
      const say = (message) => socket.send(JSON.stringify(message));
      const sayToken = () => {
        awaited = "token";
        say({ jwt: `Bearer ${token}`, resume: this.cursor ?? true });
      };

      /** @param {{ cursor: string | null, complete: boolean }} resume */
      const be = ({ cursor, complete }) => {
        if (!complete) this.#tell("gap", { cursor });
        this.cursor = cursor; // only now: if a callback threw, it has to be told again
      };
      /** @param {string[]} streams */
      const live = (streams) => {
        awaited = "nothing";
        clearTimeout(deadline);
        this.#become("connected");
        this.#refused = null;
        this.#refusals = 0;
        this.#tell("connected", { streams });
        if (place) be(place);
      };
      /** @param {any} frame */
      const succeed = (frame) => {
        if (awaited === "first" && token !== null) {
          sayToken();
        } else if (awaited === "token") {
          // A gateway that does not know of resuming promises nothing.
          place = frame.resume ?? { cursor: null, complete: false };
          if (rest.length) {
            awaited = "streams";
            say({ event: "subscribe", streams: rest });
          } else {
            live(this.#streams);
          }
        } else if (awaited !== "nothing") {
          live(frame.success?.streams ?? []);
        }
      };
      /** @param {string} text */
      const take = (text) => {
        const frame = parsed(text);
        if (!frame) {
          abandon("not the gateway's");
        } else if ("challenge" in frame) {
          sayToken();
        } else if ("success" in frame) {
          succeed(frame);
        } else if ("error" in frame) {
          const message = String(frame.error?.message ?? frame.error);
          this.#tell("error", message);
          // Ranger's other errors are texts.
          if (awaited === "token" && frame.error?.message) end({ code: 401, reason: message });
        } else if (frame.resume && Object.keys(frame).length === 1) {
          be(frame.resume);
        } else {
          const [name, data] = Object.entries(frame)[0];
          const stream = name === "orderbook" ? "order" : name;
          this.#handOver({ stream, data, cursor: frame.cursor ?? null, text });
        }
      };

      const alive = () => {
        asked = 0;
      };
      const ping = socket.ping ? () => socket.ping() : ranger ? () => socket.send("ping") : null;
      // A page in the background is woken once a minute only: what counts is how long an answer has been due.
      const feel = () => {
        if (asked && now() - asked >= this.#silence / 2) return abandon("no sign of life");
        if (asked || !ping || socket.readyState !== 1) return;
        asked = now();
        ping();
      };

      this.#stop = () => end({ code: 1000, reason: "" });
      within(OPEN, "no connection in time");
      pulse = setInterval(feel, (this.#silence / 3) * 1000);
      socket.addEventListener("open", () => {
        if (!over) within(ANSWER, "no answer to the token in time");
      });
      socket.addEventListener("message", (/** @type {{ data: unknown }} */ { data }) => {
        if (over) return;
        alive();
        if (data === "pong") return;
        try {
          take(String(data));
        } catch (error) {
          end({ code: LOST, reason: "", thrown: { error } });
        }
      });
      socket.addEventListener("error", (/** @type {{ message?: string }} */ { message }) => {
        failure = message || failure; // a browser does not tell
        // Node 22 tells of a connection that failed by this event alone (undici 6, nodejs/undici#3546).
        if (awaited === "first" && socket.readyState !== 1) end({ code: LOST, reason: failure });
      });
      socket.addEventListener("close", (/** @type {{ code: number, reason: string }} */ { code, reason }) =>
        end({ code, reason: reason || failure, asked: Number(/retry after (\d{1,9})/.exec(reason)?.[1] ?? 0) }),
      );
      // What only `ws` tells of.
      socket.on?.("pong", alive);
      socket.on?.("unexpected-response", (/** @type {any} */ request, /** @type {any} */ response) => {
        const later = /^\d{1,9}$/.exec(response.headers["retry-after"] ?? "")?.[0] ?? 0;
        end({ code: response.statusCode, reason: `HTTP ${response.statusCode}`, asked: Number(later) });
        request.destroy();
      });
    });
  }

  /** @param {PeatioEvent} event */
  #handOver(event) {
    if (event.stream === "order" || event.stream === "trade") this.#tell(event.stream, event);
    this.#tell("event", event);
    if (event.cursor !== null) this.cursor = event.cursor;
  }

  /**
   * @param {string} name
   * @param {unknown} what
   */
  #tell(name, what) {
    for (const callback of this.#callbacks[name]) callback(what);
    if (!this.#callbacks[name].length && (name === "gap" || name === "error"))
      console.warn(`peatio-client: ${name}, and nobody is told of it:`, what);
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
      const timer = setTimeout(resolve, seconds * 1000);
      this.#stop = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** @param {string} text @returns {any} an object with anything in it, or null */
function parsed(text) {
  try {
    const frame = JSON.parse(text);
    return frame && typeof frame === "object" && Object.keys(frame).length ? frame : null;
  } catch {
    return null;
  }
}

/** @param {string} stream */
function isPublic(stream) {
  return stream.split(".").length === 2;
}

function now() {
  return performance.now() / 1000;
}

/** Node 20 has no WebSocket of its own. Bundlers shall not look for it. */
async function ws() {
  // @ts-ignore it need not be there
  return (await import(/* webpackIgnore: true */ /* @vite-ignore */ "ws")).WebSocket;
}
