/**
 * A client for the Peatio WebSocket gateway that loses no fill: it reconnects and resumes. For browsers, and for
 * Node 20 and later.
 *
 *     const client = new PeatioClient("wss://exchange.example/", { token: fetchToken })
 *       .on("trade", ({ data }) => book(data))
 *       .on("gap", () => bookAll(askOverRest()));
 *     await client.run(); // or: for await (const event of client) …
 *
 * A single file. In Node it uses the package `ws`, in browsers their WebSocket. README.md lists the guarantees.
 */

const FIRST_PAUSE = 0.5; // seconds, as all times here
const LONGEST_PAUSE = 30;
const LONGEST_ASKED = 300; // the client waits no longer, whatever delay the gateway asks for
const FULL_PAUSE = 5; // lowest pause if the gateway is full and sent no delay
const STEADY = 30; // after a connection of this length, the pauses start from the beginning
const OPEN = 10;
const ANSWER = 30; // wait for the answer to the token: a worker that has just started may read its history first
const EARLY = 60; // renew a token this long before `exp`; a quarter of the remaining time, if that is less
const RENEWAL_PAUSE = 0.5; // shortest pause between two requests for a token
const LONGEST_RENEWAL_PAUSE = 60;
const SNAPSHOTS = 1; // shortest time between two requests for snapshots: the message rate is limited
const LONGEST_TIMER = 86400; // browsers limit timers
const MOST_REFUSALS = 3; // consecutive refused tokens, all different, before the client gives up
const FEW_FRAMES = 16; // frames that wait for the consumer before reading stops, if it can be stopped
const MOST_FRAMES = 1000; // if it cannot: then the client disconnects
const MOST_LENGTH = 8 * 2 ** 20; // size of these frames together, in UTF-16 units
const TOKEN = 30; // wait for a token before connecting; then report an error and try again later
const AT_ONCE = 20; // messages about streams, and A_SECOND after that: less than what the gateway allows by default
const A_SECOND = 5;
const PIECE = 100; // streams in a message
const PIECE_LENGTH = 4000; // and characters of their names together
const QUERY_LENGTH = 4000; // limit for streams in an address: servers and proxies accept lines of 8 KiB, with the rest
const MOST_SLOWER = 16;
const TOO_FAST = 1008; // too many messages or failed tokens: reconnect later, with fewer messages
const NO_RETURN = [1002, 1003, 1007, 1009]; // close codes after which a new connection would fail in the same way
const NEW_TOKEN = [401, 4401, 4403];
const NO_ROOM = [429, 503, 1013];
const LOST = 1006; // the connection ended without a close code
const CALLBACKS = "event book gap stale notice connected disconnected error".split(" "); // that are not streams
const NAMES = ["order", "trade", "balances", "deposit_address", ...CALLBACKS];

/** Reconnecting would not help. A `token` function may throw it to end the client. */
export class Refused extends Error {}

/** @import { BodyOf } from "./channels.mjs" */

/**
 * An event from the gateway.
 *
 * @template [Data=any]
 * @typedef {object} PeatioEvent
 * @property {string} stream `order` or `trade` for the member's own events, otherwise the name of the stream
 * @property {Data} data the body
 * @property {string | null} cursor the position after this event, for resuming; null for public streams
 * @property {string} text the frame as received, with every digit of its numbers
 */

/**
 * A connection that ended, or could not be opened.
 *
 * @typedef {object} Disconnected
 * @property {number} code the close code; 1006 if the connection ended without one; an HTTP status where it is known
 * @property {string} reason
 * @property {number | null} pause seconds until the next attempt; null if the client makes no further attempt
 */

/**
 * The callbacks and their arguments. The client awaits what they return before it continues.
 *
 * @typedef {object} Callbacks
 * @property {(event: PeatioEvent) => unknown} event every event, whatever its stream
 * @property {(book: Book) => unknown} book a maintained book changed
 * @property {(book: Book) => unknown} stale a maintained book is no longer correct
 * @property {(gap: { cursor: string | null }) => unknown} gap events may be missing; continues at this cursor
 * @property {(notice: any) => unknown} notice a message of an operator; requested from the next connection on
 * @property {(live: { streams: string[] }) => unknown} connected authenticated and subscribed
 * @property {(end: Disconnected) => unknown} disconnected
 * @property {(message: string) => unknown} error an error text of the gateway, or why there is no token
 */

/** @typedef {[price: string, volume: string]} Level with the digits as published */

// ---- order books

/** This many consecutive increments with old, rising numbers mean that the publisher's sequence restarted. */
const RESTART = 3;

/**
 * The order book of a market, from a snapshot and increments, checked by their `sequence`. `PeatioClient.book()`
 * creates and maintains it.
 */
export class Book {
  /** Name of the pair of streams, without `-snap` and `-inc`: `btcusd.ob`. @type {string} */
  name;
  /**
   * Whether the book is correct. False before the first snapshot, and after a gap in the sequence or the end of a
   * connection until the next snapshot. The last state can still be read in the meantime.
   */
  current = false;
  /** Number of the last change; null if the publisher does not number changes. @type {number | null} */
  sequence = null;

  #asks = new Side();
  #bids = new Side();
  /** Number of the last increment, even if it was an old one. @type {number | null} */
  #latest = null;
  /** Consecutive ignored increments with rising numbers. */
  #behind = 0;

  /** @param {string} name */
  constructor(name) {
    this.name = name;
  }

  /** The asks, best first (ascending). @returns {Level[]} */
  get asks() {
    return this.#asks.levels.map(({ level }) => level);
  }

  /** The bids, best first (descending). @returns {Level[]} */
  get bids() {
    return this.#bids.levels.map(({ level }) => level).reverse();
  }

  /** The lowest ask; undefined if there are no asks. @returns {Level | undefined} */
  get bestAsk() {
    return this.#asks.levels.at(0)?.level;
  }

  /** The highest bid; undefined if there are no bids. @returns {Level | undefined} */
  get bestBid() {
    return this.#bids.levels.at(-1)?.level;
  }

  /**
   * Apply the body of a frame.
   *
   * @param {"snap" | "inc"} kind
   * @param {any} body
   * @returns {"changed" | "ignored" | "hole"} `ignored`: the book already contains it; `hole`: increments are missing,
   *   and a new snapshot is needed
   * @throws {TypeError} the body is not a book; nothing was changed
   */
  take(kind, body) {
    const asks = levelsOf(body?.asks);
    const bids = levelsOf(body?.bids);
    const sequence = sequenceOf(body?.sequence);
    if (kind === "snap") {
      this.#asks = new Side();
      this.#bids = new Side();
    } else if (!this.current) {
      return "hole";
    } else if (sequence !== null && this.sequence !== null) {
      if (sequence <= this.sequence) return this.#lookBack(sequence);
      this.current = sequence === this.sequence + 1;
      if (!this.current) return "hole";
    }
    asks.forEach((level) => this.#asks.change(level));
    bids.forEach((level) => this.#bids.change(level));
    this.sequence = sequence;
    this.current = true;
    if (kind === "inc") this.#latest = sequence;
    this.#behind = 0;
    return "changed";
  }

  /**
   * Distinguish an increment that the book already contains from the third one of a restarted sequence. An increment
   * that follows the previous one was overtaken by a snapshot, and does not count.
   *
   * @param {number} sequence
   */
  #lookBack(sequence) {
    const goesOn = this.#latest !== null && sequence === this.#latest + 1;
    if (this.#behind || !goesOn) this.#behind = goesOn ? this.#behind + 1 : 1;
    this.#latest = sequence;
    if (this.#behind < RESTART) return "ignored";
    this.current = false;
    return "hole";
  }
}

/** @typedef {{ units: bigint, scale: number, about: number }} Decimal units × 10 ** -scale, and about its value */

/** The levels of one side by price, ascending. */
class Side {
  /** @type {{ price: Decimal, level: Level }[]} */
  levels = [];

  /** @param {Level} level */
  change(level) {
    const price = decimal(level[0]);
    let [low, high] = [0, this.levels.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (compare(this.levels[middle].price, price) < 0) low = middle + 1;
      else high = middle;
    }
    const known = low < this.levels.length && compare(this.levels[low].price, price) === 0;
    if (decimal(level[1]).units) this.levels.splice(low, Number(known), { price, level });
    else if (known) this.levels.splice(low, 1);
  }
}

/** @param {unknown} value @returns {Decimal} */
function decimal(value) {
  const match = /^(-?\d{1,99})(?:\.(\d{1,99}))?(?:[eE]([+-]?\d{1,2}))?$/.exec(String(value));
  if (!match) throw new TypeError("no number");
  const [, whole, fraction = "", exponent = "0"] = match;
  const scale = fraction.length - Number(exponent);
  return { units: BigInt(whole + fraction), scale, about: Number(value) };
}

/** @param {Decimal} one @param {Decimal} other @returns {number} below, at or above 0 */
function compare(one, other) {
  if (one.about !== other.about) return one.about - other.about; // rounding does not change the order
  const scale = Math.max(one.scale, other.scale);
  const [left, right] = [one, other].map(({ units, scale: own }) => units * 10n ** BigInt(scale - own));
  return left < right ? -1 : Number(left > right);
}

/** The levels of a flat `[price, volume]`, or of a list of such pairs. @param {any} side @returns {Level[]} */
function levelsOf(side) {
  if (side !== undefined && side !== null && !Array.isArray(side)) throw new TypeError("no side of a book");
  const pairs = side?.length && !Array.isArray(side[0]) ? [side] : (side ?? []);
  return pairs.map((/** @type {any} */ pair) => {
    if (!Array.isArray(pair) || pair.length !== 2) throw new TypeError("no level of a book");
    pair.forEach(decimal);
    return [String(pair[0]), String(pair[1])];
  });
}

/** @param {unknown} value @returns {number | null} */
function sequenceOf(value) {
  if (value === undefined || value === null) return null;
  const number = Number(value);
  if (!Number.isSafeInteger(number)) throw new TypeError("no sequence");
  return number;
}

/** Numbers as their texts, where the engine reports them (Node 22, and current browsers). */
function exactly(/** @type {string} */ _, /** @type {unknown} */ value, /** @type {any} */ context) {
  return typeof value === "number" && context?.source !== undefined ? context.source : value;
}

// ---- tokens

/** `exp` of a JWT as Unix time (RFC 7519 section 4.1.4); null if it cannot be read. @param {string} token */
function expiry(token) {
  try {
    const payload = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const { exp } = JSON.parse(atob(payload));
    return Number.isFinite(exp) ? Number(exp) : null;
  } catch {
    return null;
  }
}

/** When to renew the token that the gateway has. */
class Renewal {
  /** Unix time. */
  due = Infinity;
  /** @type {number | null} */
  #exp = null;
  #failures = 0;

  /** Schedule the renewal of a token that was sent to the gateway. @param {string} token */
  shown(token) {
    this.#exp = expiry(token);
    const left = (this.#exp ?? 0) - wall();
    if (this.#exp === null) this.due = Infinity;
    else if (left <= 0) this.putOff(); // this machine's clock is ahead, or the token has expired
    else {
      this.due = this.#exp - Math.min(EARLY, left / 4);
      this.#failures = 0;
    }
  }

  /** No fresh token was available: try after half of the remaining time, then less and less often. */
  putOff() {
    const left = (this.#exp ?? wall()) - wall();
    this.due = wall() + Math.max(Math.min(LONGEST_RENEWAL_PAUSE, RENEWAL_PAUSE * 2 ** this.#failures), left / 2);
    this.#failures += 1;
  }

  /** Stop renewing: the gateway accepts no token. */
  stop() {
    this.due = Infinity;
  }
}

// ---- the pace

/** The message rate: the gateway closes a connection (1008) that sends too many messages. */
class Pace {
  #slower = 1;
  #allowance = AT_ONCE;
  #since = -Infinity;

  /** Start with a full allowance on a new connection. @param {number} at */
  connected(at) {
    this.#allowance = AT_ONCE / this.#slower;
    this.#since = at;
  }

  /** Halve the rate and the size of messages: the gateway found the client too fast. */
  slowDown() {
    this.#slower = Math.min(MOST_SLOWER, 2 * this.#slower);
  }

  /** Seconds until the next message may be sent; with 0, the message counts as sent. @param {number} at */
  wait(at) {
    const perSecond = A_SECOND / this.#slower;
    const more = Math.max(0, at - this.#since) * perSecond;
    this.#allowance = Math.min(AT_ONCE / this.#slower, this.#allowance + more);
    this.#since = at;
    if (this.#allowance < 1 - 1e-9) return (1 - this.#allowance) / perSecond;
    this.#allowance -= 1;
    return 0;
  }

  /** The names, in groups that fit into one message. @param {string[]} names */
  pieces(names) {
    /** @type {string[][]} */
    const pieces = [];
    let length = Infinity;
    for (const name of names) {
      const last = pieces.at(-1);
      length += name.length;
      if (last && last.length < PIECE / this.#slower && length <= PIECE_LENGTH / this.#slower) last.push(name);
      else {
        pieces.push([name]);
        length = name.length;
      }
    }
    return pieces;
  }
}

// ---- one connection

/** How a connection ended. Thrown only by code that talks to the gateway, never by a callback. */
class Ended extends Error {
  /** @param {number} code @param {string} reason @param {number} [asked] seconds */
  constructor(code, reason, asked = 0) {
    super(reason);
    this.code = code;
    this.reason = reason;
    this.asked = asked;
  }
}

/**
 * A step that a frame requires.
 *
 * @typedef {{ say: string } | { live: string[] } | { place: Place } | { event: PeatioEvent } | { notice: any }
 *   | { complaint: string, refused: boolean, postponed: boolean } | { renewed: true }} Step
 * @typedef {{ cursor: string | null, complete: boolean }} Place the position of the client, and whether it has
 *   received everything before it
 */

/** The protocol of one connection. Knows no socket. */
class Conversation {
  /** Streams that were requested from the gateway. @type {Set<string>} */
  asked;
  /** The address to connect to. @type {string} */
  address;
  /** Whether the client waits for the answer to a fresh token. */
  renewing = false;

  #token;
  #cursor;
  #ranger;
  #notices;
  /** @type {string[]} */
  #rest;
  /** The expected answer of the gateway. @type {"first" | "token" | "streams" | "nothing"} */
  #awaited = "first";
  /** Reported once the connection is live. @type {Place | null} */
  #place = null;

  /**
   * @param {string} url without streams
   * @param {{ streams: string[], token: string | null, cursor: string | null, ranger: boolean, notices: boolean }} what
   */
  constructor(url, { streams, token, cursor, ranger, notices }) {
    this.#token = token;
    this.#cursor = cursor;
    this.#ranger = ranger;
    this.#notices = notices;
    this.#rest = streams.filter((name) => !isPublic(name));
    this.asked = new Set(ranger ? this.#rest : []);
    const parts = new URL(url);
    if (ranger) {
      // A page sends the token in a message, because it cannot set headers; `…/private` would require it earlier.
      parts.pathname = parts.pathname.replace(/\/private(\/*)$/, "/public$1");
      let room = QUERY_LENGTH;
      for (const name of streams.filter(isPublic)) {
        room -= "stream=&".length + encodeURIComponent(name).length;
        if (room < 0) break; // the others are requested by message
        parts.searchParams.append("stream", name);
        this.asked.add(name);
      }
      if (!parts.searchParams.has("stream")) parts.searchParams.append("stream", "");
      if (notices && token === null) parts.searchParams.append("notices", "1");
    }
    this.address = parts.href;
  }

  /** Whether the connection is authenticated and subscribed. */
  get live() {
    return this.#awaited === "nothing";
  }

  /** The message that subscribes to these streams. @param {string[]} streams */
  subscribe(streams) {
    for (const name of streams) this.asked.add(name);
    return JSON.stringify({ event: "subscribe", streams });
  }

  /** @param {string[]} streams */
  unsubscribe(streams) {
    for (const name of streams) this.asked.delete(name);
    return JSON.stringify({ event: "unsubscribe", streams });
  }

  /** The message that sends a fresh token. @param {string} token */
  renew(token) {
    this.renewing = true;
    return JSON.stringify({ jwt: `Bearer ${token}` });
  }

  /**
   * @param {string} text
   * @returns {Step[]}
   */
  take(text) {
    const frame = parsed(text);
    if (!frame) throw new Ended(LOST, "not a message of the gateway");
    if ("challenge" in frame) return [this.#showToken()];
    if ("success" in frame) return this.#succeed(frame);
    if ("error" in frame) return [this.#complain(frame.error)];
    const [name, data] = Object.entries(frame)[0];
    const alone = Object.keys(frame).length === 1;
    if (alone && name === "resume" && data) return [{ place: placeOf(data) }];
    if (alone && name === "notice" && this.#notices && !this.asked.has(name)) return [{ notice: data }];
    const stream = name === "orderbook" ? "order" : name;
    return [{ event: { stream, data, cursor: frame.cursor ?? null, text } }];
  }

  /** @returns {Step} */
  #showToken() {
    this.#awaited = "token";
    const notices = this.#notices ? { notices: true } : {};
    return { say: JSON.stringify({ jwt: `Bearer ${this.#token}`, resume: this.#cursor ?? true, ...notices }) };
  }

  /** @param {any} frame @returns {Step[]} */
  #succeed(frame) {
    const streams = frame.success?.streams;
    switch (this.#awaited) {
      case "first":
        return this.#token === null ? this.#goLive(streams ?? []) : [this.#showToken()];
      case "token":
        // A gateway without resuming guarantees nothing.
        this.#place = placeOf(frame.resume ?? {});
        if (!this.#ranger || !this.#rest.length) return this.#goLive([...this.asked]);
        this.#awaited = "streams";
        return [{ say: this.subscribe(this.#rest) }];
      case "streams":
        return this.#goLive(streams ?? []);
    }
    if (!this.renewing || streams) return [];
    this.renewing = false;
    return [{ renewed: true }];
  }

  /** @param {string[]} streams @returns {Step[]} */
  #goLive(streams) {
    this.#awaited = "nothing";
    return this.#place ? [{ live: streams }, { place: this.#place }] : [{ live: streams }];
  }

  /** @param {any} error @returns {Step} */
  #complain(error) {
    const complaint = String(error?.message ?? error);
    // The gateway could not check the token yet.
    const postponed = error?.retry_after !== undefined;
    if (postponed) this.renewing = false;
    let refused = this.#awaited === "token" && Boolean(error?.message) && !postponed; // Ranger's other errors are texts
    if (this.renewing && complaint === "Authentication failed.") {
      this.renewing = false;
      refused = true;
    }
    return { complaint, refused, postponed };
  }
}

/** @param {any} resume @returns {Place} */
function placeOf({ cursor, complete }) {
  return { cursor: cursor ?? null, complete: Boolean(complete) };
}

/** A WebSocket whose frames are read one by one. */
class Line {
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
  /** Wakes `receive`. */
  #wake = () => {};

  /**
   * @param {any} socket
   * @param {number} silence seconds
   * @param {boolean} ranger whether `ping` is answered
   */
  constructor(socket, silence, ranger) {
    this.#socket = socket;
    this.#silence = silence;
    this.#ask = socket.ping ? () => socket.ping() : ranger ? () => socket.send("ping") : null;
    this.#pulse = setInterval(() => this.#feel(), (silence / 3) * 1000);
    socket.addEventListener("open", () => {
      this.#opened = true;
      this.#wake();
    });
    socket.addEventListener("message", (/** @type {{ data: unknown }} */ { data }) => this.#put(String(data)));
    socket.addEventListener("error", (/** @type {{ message?: string }} */ { message }) => {
      this.#failure = message || this.#failure; // a browser gives no message
      // Node 22 reports a failed connection by this event alone (undici 6, nodejs/undici#3546).
      if (!this.#opened) this.#end(new Ended(LOST, this.#failure));
    });
    socket.addEventListener("close", (/** @type {{ code: number, reason: string }} */ { code, reason }) =>
      this.#end(new Ended(code, reason || this.#failure, Number(/retry after (\d{1,9})/.exec(reason)?.[1] ?? 0))),
    );
    // Events that only `ws` has.
    socket.on?.("pong", () => this.#live());
    socket.on?.("unexpected-response", (/** @type {any} */ request, /** @type {any} */ response) => {
      const later = /^\d{1,9}$/.exec(response.headers["retry-after"] ?? "")?.[0] ?? 0;
      this.#end(new Ended(response.statusCode, `HTTP ${response.statusCode}`, Number(later)));
      request.destroy();
    });
  }

  /** Resolves when the connection is open. */
  async open() {
    await this.#until(OPEN, () => this.#opened);
    if (!this.#opened && !this.#ended) this.#abandon("no connection in time");
    if (this.#ended) throw this.#ended;
  }

  /**
   * The next frame.
   *
   * @param {number} seconds
   * @returns {Promise<string | null>} null after `seconds`
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
    if (this.#paused && this.#frames.length < FEW_FRAMES / 2) {
      this.#paused = false;
      this.#live();
      this.#socket.resume();
    }
    return text;
  }

  /** Make `receive` return without a frame. */
  nudge() {
    this.#nudged = true;
    this.#wake();
  }

  /** @param {string} text */
  say(text) {
    if (this.#socket.readyState === 1) this.#socket.send(text);
  }

  /** Close with a closing handshake; drop waiting frames. */
  close() {
    this.#frames = [];
    this.#end(new Ended(1000, ""));
  }

  /** @param {number} seconds @param {() => boolean} isDone */
  async #until(seconds, isDone) {
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    const late = new Promise((/** @type {(late: true) => void} */ resolve) => {
      if (seconds < Infinity) timer = setTimeout(resolve, Math.min(seconds, LONGEST_TIMER) * 1000, true);
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
    if (text === "pong") return;
    this.#frames.push(text);
    this.#length += text.length;
    this.#wake();
    if (this.#frames.length >= FEW_FRAMES && this.#socket.pause) {
      if (!this.#paused) this.#socket.pause();
      this.#paused = true;
    } else if (this.#frames.length >= MOST_FRAMES || this.#length >= MOST_LENGTH) {
      this.#end(new Ended(LOST, "too much waits for the consumer"));
    }
  }

  #live() {
    this.#asked = 0;
  }

  // A background page is woken only once a minute, so compare how long an answer has been due.
  #feel() {
    if (this.#paused) return;
    if (this.#asked && now() - this.#asked >= this.#silence / 2) return this.#abandon("no sign of life");
    if (this.#asked || !this.#ask || this.#socket.readyState !== 1) return;
    this.#asked = now();
    this.#ask();
  }

  /** The peer may be gone, so do not wait for its close frame. @param {string} reason */
  #abandon(reason) {
    this.#end(new Ended(LOST, reason));
    this.#socket.terminate?.();
  }

  /** Ignore this socket from now on. @param {Ended} ended */
  #end(ended) {
    if (this.#ended) return;
    this.#ended = ended;
    clearInterval(this.#pulse);
    if (this.#paused) this.#socket.resume(); // otherwise it would not see the peer's close frame
    this.#socket.close(1000);
    this.#wake();
  }
}

// ---- the client

/**
 * Whether an event is of a stream; TypeScript then knows its body.
 *
 * @template {string} Name
 * @param {PeatioEvent} event
 * @param {Name} stream
 * @returns {event is PeatioEvent<BodyOf<Name>>}
 */
export function isOf(event, stream) {
  return event.stream === stream;
}

/** A client that receives a member's orders and trades, and streams, and reconnects by itself. */
export class PeatioClient {
  /** The cursor of the last processed event; pass it to a later process to resume there. @type {string | null} */
  cursor;
  /** The state of the connection. @type {"disconnected" | "connecting" | "connected" | "closed"} */
  state = "disconnected";

  #url;
  #token;
  /** @type {Set<string>} */
  #wanted;
  #ranger;
  #silence;
  #WebSocket;
  /** @type {Map<string, Function[]>} */
  #callbacks = new Map();
  /** @type {Map<string, Book>} */
  #books = new Map();
  /** Names of books that need a new snapshot. @type {Set<string>} */
  #holes = new Set();
  #snapshotsDue = 0; // earliest time of the next request
  /** @type {string | null} the token that was last sent to the gateway */
  #shown = null;
  /** @type {string | null} the last token that the gateway refused */
  #refused = null;
  #refusals = 0;
  #failures = 0;
  #renewal = new Renewal();
  #failed = false; // whether the call of the token function failed
  /** Settles with the running call of the token function. @type {Promise<void> | null} */
  #asked = null;
  /** Its result. @type {{ token: string } | { error: unknown } | null} */
  #given = null;
  #pace = new Pace();
  /** Sends changes of streams when the pace allows. @type {ReturnType<typeof setTimeout> | undefined} */
  #later;
  #running = false;
  /** @type {AsyncGenerator<PeatioEvent, void, undefined> | null} */
  #events = null;
  /** @type {Conversation | null} */
  #conversation = null;
  /** @type {Line | null} */
  #line = null;
  #stop = () => {}; // ends the current wait

  /**
   * @param {string} url address of the gateway
   * @param {object} [options]
   * @param {() => string | Promise<string>} [options.token] returns the session token, a fresh one if possible.
   *   The client calls it for each connection and before the token expires. An error is reported as "error", and the
   *   client calls it again later, except for `Refused`. Omit it for public streams only.
   * @param {string[]} [options.streams] streams to subscribe to, private ones (`order`, `trade`) too. With streams the
   *   client uses Ranger's protocol; without, the classic one, with all orders and trades of the member.
   * @param {string | null} [options.cursor] cursor of the last event that was processed earlier; null to start now
   * @param {number} [options.silence] seconds without a sign of life after which a connection is dead
   * @param {any} [options.WebSocket] another implementation instead of `ws` or the browser's
   * @throws {TypeError} the options contradict each other
   */
  constructor(url, { token, streams = [], cursor = null, silence = 60, WebSocket } = {}) {
    const parts = new URL(url);
    const named = parts.searchParams.getAll("stream").flatMap((names) => names.split(","));
    parts.searchParams.delete("stream");
    this.#wanted = new Set([...named, ...streams].filter(Boolean));
    const segments = parts.pathname.replace(/\/+$/, "").split("/");
    const last = segments.at(-1) ?? "";
    this.#ranger = this.#wanted.size > 0 || ["public", "private"].includes(last) || segments.includes("ranger");
    this.#url = parts.href;
    this.#token = token;
    this.#silence = silence;
    this.#WebSocket = WebSocket;
    this.cursor = cursor;
    if (!token && last === "private") throw new TypeError("…/private needs a token");
    if (!token && !this.#ranger)
      throw new TypeError("the classic protocol needs a token; without one, name public streams or use …/public");
    this.#check([...this.#wanted]);
  }

  /**
   * Register a callback.
   *
   * @template {keyof Callbacks | "order" | "trade" | "balances" | "deposit_address" | (string & {})} Name
   * @param {Name} name `order`, `trade`, `balances` or `deposit_address` for the member's own events; one of `Callbacks`;
   *   or a stream (`btcusd.trades`) for its events
   * @param {Name extends keyof Callbacks ? Callbacks[Name] : (event: PeatioEvent<BodyOf<Name>>) => unknown} callback
   * @returns {this}
   * @throws {TypeError} there is no such name
   */
  on(name, callback) {
    if (!NAMES.includes(name) && !name.includes("."))
      throw new TypeError(`unknown name ${name}: neither a stream, which has a dot, nor one of ${NAMES.join(", ")}`);
    this.#callbacks.set(name, [...(this.#callbacks.get(name) ?? []), callback]);
    return this;
  }

  /**
   * Run the callbacks until `close()`.
   *
   * @returns {Promise<void>} resolves after `close()`; rejects with `Refused` if reconnecting would not help, and
   *   with the error of a callback
   */
  async run() {
    if (this.#running) throw new Error("it runs already");
    this.#running = true;
    try {
      while (!(await this.#next()).done);
    } finally {
      this.#running = false;
    }
  }

  /**
   * The events, one after the other. You can leave the loop and continue in another one; nothing is read meanwhile.
   *
   * @returns {AsyncIterator<PeatioEvent, void, undefined>}
   */
  [Symbol.asyncIterator]() {
    return { next: () => this.#next() };
  }

  /**
   * Subscribe to more streams, now and after each reconnection.
   *
   * @param {...string} streams
   * @throws {TypeError} a private stream without a token, or in the classic protocol
   */
  subscribe(...streams) {
    this.#check(streams);
    for (const name of streams) this.#wanted.add(name);
    this.#speak();
  }

  /**
   * Unsubscribe from streams, now and after each reconnection.
   *
   * @param {...string} streams
   */
  unsubscribe(...streams) {
    for (const name of streams) {
      this.#wanted.delete(name);
      const book = this.#books.get(name.replace(/-inc$/, ""));
      if (!book) continue;
      book.current = false;
      this.#books.delete(book.name);
    }
    this.#speak();
  }

  /**
   * Maintain the order book of a market, and return it.
   *
   * @param {string} market `btcusd`, or the name of another pair of streams, without `-snap` and `-inc`
   */
  book(market) {
    const name = market.includes(".") ? market : `${market}.ob`;
    const known = this.#books.get(name);
    if (known) return known;
    const stream = `${name}-inc`;
    this.#check([stream]);
    const book = new Book(name);
    this.#books.set(name, book);
    // If the stream is not new, the gateway sends its book only on request.
    if (this.#wanted.has(stream) || this.#conversation?.asked.has(stream)) this.#holes.add(name);
    this.subscribe(stream);
    return book;
  }

  /** End the client, with a closing handshake if it is connected. Idempotent. */
  close() {
    this.state = "closed";
    clearTimeout(this.#later);
    this.#line?.close();
    this.#stop();
  }

  /** Send the pending changes of streams, now or as soon as the pace allows. */
  #speak() {
    const conversation = this.#conversation;
    while (conversation?.live) {
      const [gone] = this.#pace.pieces([...conversation.asked].filter((name) => !this.#wanted.has(name)));
      const [fresh] = this.#pace.pieces([...this.#wanted].filter((name) => !conversation.asked.has(name)));
      if (!gone && !fresh) return;
      const seconds = this.#pace.wait(now());
      if (seconds) {
        clearTimeout(this.#later);
        this.#later = setTimeout(() => this.#speak(), seconds * 1000);
        return;
      }
      this.#line?.say(gone ? conversation.unsubscribe(gone) : conversation.subscribe(fresh));
    }
  }

  /** @param {string[]} streams */
  #check(streams) {
    for (const name of streams) {
      if (!this.#token && !isPublic(name)) throw new TypeError(`${name}: needs a token; only public streams do not`);
      if (!this.#ranger && !name.includes("."))
        throw new TypeError(`${name}: the classic protocol sends orders and trades unasked, and has no private streams`);
    }
  }

  async #next() {
    this.#events ??= this.#serve();
    try {
      const result = await this.#events.next();
      if (result.done) this.#events = null;
      return result;
    } catch (error) {
      this.#events = null;
      throw error;
    }
  }

  async *#serve() {
    this.#failures = 0;
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
        if (this.state === "connected" && now() - began > STEADY) this.#failures = 0;
        const current = [...this.#books.values()].filter((book) => book.current);
        this.#forget();
        for (const book of current) await this.#tell("stale", book);
        if (!this.#isClosed()) await this.#pause(ended);
      }
    } finally {
      this.#forget();
    }
  }

  /** @param {Ended} ended */
  async #pause(ended) {
    const { code, reason } = ended;
    let why = "";
    if (code === TOO_FAST) this.#pace.slowDown();
    if (NO_RETURN.includes(code)) why = `closed: ${code} ${reason}; reconnecting would fail again`;
    else if (this.#refusals >= MOST_REFUSALS)
      why = `the gateway refuses this token, after ${MOST_REFUSALS - 1} others`;
    const pause = why ? null : this.#secondsAfter(ended);
    await this.#tell("disconnected", { code, reason, pause });
    if (pause === null) throw new Refused(why);
    if (!this.#isClosed()) await this.#sleep(pause);
  }

  /**
   * The pause before reconnecting: it grows, with full jitter, so that many clients that were disconnected at the same
   * time do not reconnect at the same time. It is added to the delay that the gateway asked for.
   *
   * @param {Ended} ended
   */
  #secondsAfter({ code, asked }) {
    if ((NO_ROOM.includes(code) || code === TOO_FAST) && !asked) {
      // A place is unlikely to become free at once.
      this.#failures = Math.max(this.#failures, 4);
      asked = FULL_PAUSE;
    }
    const jitter = Math.random() * Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** this.#failures);
    this.#failures += 1;
    return Math.min(asked, LONGEST_ASKED) + jitter;
  }

  /** Connect, and follow one connection to its end. */
  async *#connect() {
    const token = await this.#askForToken();
    const WebSocket = this.#WebSocket ?? (await webSocket());
    if (this.#isClosed()) return;
    const conversation = new Conversation(this.#url, {
      streams: [...this.#wanted],
      token,
      cursor: this.cursor,
      ranger: this.#ranger,
      notices: this.#callbacks.has("notice"),
    });
    const line = new Line(new WebSocket(conversation.address), this.#silence, this.#ranger);
    this.#conversation = conversation;
    this.#line = line;
    try {
      await line.open();
      this.#pace.connected(now());
      if (token !== null) this.#renewal.shown(token);
      const deadline = now() + ANSWER;
      while (!this.#isClosed()) yield* this.#listen(line, conversation, deadline);
    } catch (error) {
      if (error instanceof Ended && NEW_TOKEN.includes(error.code)) {
        this.#refused = this.#shown;
        if (error.code === 401) this.#refusals += 1;
      }
      throw error;
    }
  }

  async #askForToken() {
    if (!this.#token) return null;
    this.#ask();
    if (!this.#given) {
      await Promise.race([this.#asked, this.#sleep(TOKEN)]);
      this.#stop();
    }
    if (this.#isClosed()) return null;
    const token = await this.#taken();
    if (token === undefined) {
      if (!this.#failed) await this.#tell("error", `no token: none within ${TOKEN} s`);
      throw new Ended(LOST, "no token");
    }
    if (token === this.#refused)
      throw new Refused("the gateway refuses this token, and the token function returned no other");
    this.#shown = token;
    return token;
  }

  /** Call the token function, one call at a time. The result wakes `receive`. */
  #ask() {
    if (this.#asked || this.#given || !this.#token) return;
    const token = this.#token;
    this.#asked = (async () => token())()
      .then(
        (given) => (this.#given = { token: given }),
        (error) => (this.#given = { error }),
      )
      .then(() => {
        this.#asked = null;
        this.#line?.nudge();
      });
  }

  /** The result of the token function; undefined if there is none yet. */
  async #taken() {
    const given = this.#given;
    this.#given = null;
    this.#failed = Boolean(given && "error" in given);
    if (!given || !("error" in given)) return given?.token;
    if (given.error instanceof Refused) throw given.error;
    // Often the source of tokens is unreachable together with the gateway.
    await this.#tell("error", `no token: ${given.error}`);
    return undefined;
  }

  /**
   * Read one frame, and do what is due before it.
   *
   * @param {Line} line
   * @param {Conversation} conversation
   * @param {number} deadline
   */
  async *#listen(line, conversation, deadline) {
    let seconds = deadline - now();
    if (conversation.live) {
      if (this.#given || this.#renewal.due <= wall()) await this.#renew(line, conversation);
      if (this.#holes.size && this.#snapshotsDue <= now()) this.#askAgain(line, conversation);
      seconds = Math.min(this.#renewal.due - wall(), this.#holes.size ? this.#snapshotsDue - now() : Infinity);
    }
    const text = await line.receive(Math.max(0, seconds));
    if (text === null) {
      if (!conversation.live) throw new Ended(LOST, "no answer to the token in time");
      return;
    }
    for (const step of conversation.take(text)) {
      if (this.#isClosed()) return;
      if ("event" in step) yield* this.#handOver(step.event);
      else await this.#follow(line, conversation, step);
    }
  }

  /**
   * Send a fresh token on the open connection. Events continue while the token function runs.
   *
   * @param {Line} line
   * @param {Conversation} conversation
   */
  async #renew(line, conversation) {
    if (!this.#given) {
      this.#renewal.putOff();
      this.#ask();
      return;
    }
    const token = await this.#taken();
    if (token === undefined || token === this.#shown || token === this.#refused) return;
    this.#shown = token;
    line.say(conversation.renew(token));
  }

  /**
   * @param {Line} line
   * @param {Conversation} conversation
   * @param {Exclude<Step, { event: PeatioEvent }>} step
   */
  async #follow(line, conversation, step) {
    if ("say" in step) {
      line.say(step.say);
    } else if ("live" in step) {
      this.#become("connected");
      this.#refused = null;
      this.#refusals = 0;
      await this.#tell("connected", { streams: step.live });
      this.#speak();
    } else if ("place" in step) {
      const { cursor, complete } = step.place;
      if (!complete) await this.#tell("gap", { cursor });
      this.cursor = cursor; // only now: if a callback threw, the gap has to be reported again
    } else if ("notice" in step) {
      await this.#tell("notice", step.notice);
    } else if ("renewed" in step) {
      this.#refused = null;
      this.#refusals = 0;
      if (this.#shown !== null) this.#renewal.shown(this.#shown);
    } else {
      if (step.postponed) this.#shown = null; // the gateway has no key for it yet: send it again
      await this.#complain(conversation, step.complaint, step.refused);
    }
  }

  /** @param {Conversation} conversation @param {string} message @param {boolean} refused */
  async #complain(conversation, message, refused) {
    await this.#tell("error", message);
    if (!refused) return;
    if (!conversation.live) throw new Ended(401, message);
    this.#refused = this.#shown;
    this.#refusals += 1;
    if (this.#refusals >= MOST_REFUSALS) this.#renewal.stop();
  }

  /** @param {PeatioEvent} event */
  async *#handOver(event) {
    const { stream } = event;
    if (this.#books.size) await this.#keepBook(event);
    // A private stream may have the name of another callback.
    if (!CALLBACKS.includes(stream)) await this.#tell(stream, event);
    await this.#tell("event", event);
    yield event;
    if (event.cursor !== null) this.cursor = event.cursor;
  }

  /** @param {PeatioEvent} event */
  async #keepBook({ stream, text }) {
    const [, name, kind] = /^(.*)-(snap|inc)$/.exec(stream) ?? [];
    const book = name && this.#books.get(name);
    if (!book) return;
    const wasCurrent = book.current;
    let outcome;
    try {
      outcome = book.take(/** @type {"snap" | "inc"} */ (kind), JSON.parse(text, /** @type {any} */ (exactly))[stream]);
    } catch {
      book.current = false;
      await this.#tell("error", `${stream}: the body is not an order book`);
    }
    if (outcome === "hole") this.#holes.add(name);
    if (outcome === "changed") await this.#tell("book", book);
    if (wasCurrent && !book.current) await this.#tell("stale", book);
  }

  /** Request new snapshots of all books that need one. @param {Line} line @param {Conversation} conversation */
  #askAgain(line, conversation) {
    const names = [...this.#holes].filter((name) => this.#books.get(name)?.current === false);
    this.#holes.clear();
    if (!names.length) return;
    this.#snapshotsDue = now() + SNAPSHOTS;
    for (const streams of this.#pace.pieces(names.map((name) => `${name}-inc`))) {
      line.say(conversation.unsubscribe(streams));
      line.say(conversation.subscribe(streams));
    }
  }

  /** The connection, if there is one. */
  #forget() {
    clearTimeout(this.#later);
    this.#line?.close();
    this.#line = null;
    this.#conversation = null;
    this.#holes.clear();
    for (const book of this.#books.values()) book.current = false;
    this.#become("disconnected");
  }

  /**
   * @param {string} name
   * @param {unknown} what
   */
  async #tell(name, what) {
    const callbacks = this.#callbacks.get(name) ?? [];
    for (const callback of callbacks) await callback(what);
    if (!callbacks.length && (name === "gap" || name === "error"))
      console.warn(`peatio-client: ${name} without a callback:`, what);
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

/** @param {string} text @returns {any} a non-empty object, or null */
function parsed(text) {
  try {
    const frame = JSON.parse(text);
    return Object.keys(frame).length && Object.getPrototypeOf(frame) === Object.prototype ? frame : null;
  } catch {
    return null;
  }
}

/** @param {string} stream */
function isPublic(stream) {
  return stream.split(".").length === 2;
}

/** A monotonic clock, in seconds. */
function now() {
  return performance.now() / 1000;
}

/** Unix time. */
function wall() {
  return Date.now() / 1000;
}

/** In Node the WebSocket of `ws`, which reports HTTP statuses and can stop reading. Bundlers must not resolve it. */
async function webSocket() {
  const page = globalThis.WebSocket;
  if (!(/** @type {any} */ (globalThis).process?.versions?.node)) return page;
  try {
    // @ts-ignore it may be missing
    return (await import(/* webpackIgnore: true */ /* @vite-ignore */ "ws")).WebSocket;
  } catch (error) {
    if (page) return page;
    throw error;
  }
}
