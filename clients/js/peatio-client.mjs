/**
 * A client for the Peatio WebSocket gateway that loses no fill: it comes back after a lost line, and goes on where it
 * was. For browsers, and for Node 20 and later.
 *
 *     const client = new PeatioClient("wss://exchange.example/", { token: fetchToken })
 *       .on("trade", ({ data }) => book(data))
 *       .on("gap", () => bookAll(askOverRest()));
 *     await client.run(); // or: for await (const event of client) …
 *
 * One file; in Node it takes the package `ws`, in browsers what they have. README.md says what is promised.
 */

const FIRST_PAUSE = 0.5; // seconds, as all times here
const LONGEST_PAUSE = 30;
const LONGEST_ASKED = 300; // whoever asks for a longer pause than this is asked again
const FULL_PAUSE = 5; // at least, where there is no room and no time was given
const STEADY = 30; // a connection that was good for so long starts the pauses anew
const OPEN = 10;
const ANSWER = 30; // to the token: a worker that has just started may read its history first
const EARLY = 60; // before a token runs out a fresh one is asked for; a quarter of what is left, if that is less
const RENEWAL_PAUSE = 0.5; // at least, until it is asked for again
const LONGEST_RENEWAL_PAUSE = 60;
const SNAPSHOTS = 1; // between two times that books are asked for again: a client may not say much
const LONGEST_TIMER = 86400; // browsers cannot wait for a month
const MOST_REFUSALS = 3; // tokens refused in a row, each another one, before it is given up
const FEW_FRAMES = 16; // that wait for the consumer before reading stops, where it can be stopped
const MOST_FRAMES = 1000; // where it cannot: then the line is hung up
const MOST_LENGTH = 8 * 2 ** 20; // of these frames together, in UTF-16 units
const TOKEN = 30; // to wait for a token before connecting; then that is told, and it is tried again later
const AT_ONCE = 20; // messages about streams, and A_SECOND after that: less than what the gateway allows by default
const A_SECOND = 5;
const PIECE = 100; // streams in a message
const PIECE_LENGTH = 4000; // and characters of their names
const QUERY_LENGTH = 4000; // of streams in an address: servers and proxies take lines of 8 KiB, with all else
const MOST_SLOWER = 16;
const TOO_FAST = 1008; // too many messages, or tokens that failed: not at once, and with fewer
const NO_RETURN = [1002, 1003, 1007, 1009]; // close codes after which the same would happen again
const NEW_TOKEN = [401, 4401, 4403];
const NO_ROOM = [429, 503, 1013];
const LOST = 1006; // nobody said why
const NAMES = "order trade event book gap stale notice connected disconnected error".split(" ");

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
 * What callbacks are told. What they return is awaited before anything else is done.
 *
 * @typedef {object} Callbacks
 * @property {(event: PeatioEvent) => unknown} order
 * @property {(event: PeatioEvent) => unknown} trade
 * @property {(event: PeatioEvent) => unknown} event every event, whatever its stream
 * @property {(book: Book) => unknown} book a kept book has changed
 * @property {(book: Book) => unknown} stale a kept book is not right any more
 * @property {(gap: { cursor: string | null }) => unknown} gap something may be missing; where it goes on from
 * @property {(notice: any) => unknown} notice what operators say; asked for from the next connection on
 * @property {(live: { streams: string[] }) => unknown} connected authenticated and subscribed
 * @property {(end: Disconnected) => unknown} disconnected
 * @property {(message: string) => unknown} error what the gateway complained of
 */

/** @typedef {[price: string, volume: string]} Level with the digits that their publisher wrote */

// ---- order books

/** So many increments in a row that count upwards from below are a publisher whose sequence starts again. */
const RESTART = 3;

/**
 * What is on offer in a market, kept from its snapshot and increments and checked by their `sequence`.
 * `PeatioClient.book()` makes one and keeps it.
 */
export class Book {
  /** Of the pair of streams, without `-snap` and `-inc`: `btcusd.ob`. @type {string} */
  name;
  /**
   * Whether it is right. Not before the first snapshot, nor after a hole in the sequence or the end of a connection
   * until the next one. What was in it can be read meanwhile.
   */
  current = false;
  /** That of the last change; null if the publisher does not number them. @type {number | null} */
  sequence = null;

  #asks = new Side();
  #bids = new Side();
  /** Number of the last increment, however old it was. @type {number | null} */
  #latest = null;
  /** Increments in a row that were ignored and count upwards. */
  #behind = 0;

  /** @param {string} name */
  constructor(name) {
    this.name = name;
  }

  /** Best first: ascending. @returns {Level[]} */
  get asks() {
    return this.#asks.levels.map(({ level }) => level);
  }

  /** Best first: descending. @returns {Level[]} */
  get bids() {
    return this.#bids.levels.map(({ level }) => level).reverse();
  }

  /** Undefined if nobody sells. @returns {Level | undefined} */
  get bestAsk() {
    return this.#asks.levels.at(0)?.level;
  }

  /** Undefined if nobody buys. @returns {Level | undefined} */
  get bestBid() {
    return this.#bids.levels.at(-1)?.level;
  }

  /**
   * Take what a frame says.
   *
   * @param {"snap" | "inc"} kind
   * @param {any} body
   * @returns {"changed" | "ignored" | "hole"} `ignored` is in the book already; with a `hole` something is missing, and
   *   a new snapshot is needed
   * @throws {TypeError} it is no book; nothing was changed
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
   * Tells an increment that is in the book already from the third of a sequence that starts again. One that goes on from
   * the increment before was overtaken by a snapshot, and does not count.
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

/** @typedef {{ units: bigint, scale: number, about: number }} Decimal units × 10 ** -scale, and about how much that is */

/** Levels by price, ascending. */
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
  if (one.about !== other.about) return one.about - other.about; // rounding turns no order round
  const scale = Math.max(one.scale, other.scale);
  const [left, right] = [one, other].map(({ units, scale: own }) => units * 10n ** BigInt(scale - own));
  return left < right ? -1 : Number(left > right);
}

/** Of a flat `[price, volume]`, or a list of such pairs. @param {any} side @returns {Level[]} */
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

/** Numbers as the texts that they were, where the engine tells (Node 22, and today's browsers). */
function exactly(/** @type {string} */ _, /** @type {unknown} */ value, /** @type {any} */ context) {
  return typeof value === "number" && context?.source !== undefined ? context.source : value;
}

// ---- tokens

/** `exp` of a JWT, Unix time (RFC 7519 section 4.1.4); null where none can be read. @param {string} token */
function expiry(token) {
  try {
    const payload = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const { exp } = JSON.parse(atob(payload));
    return Number.isFinite(exp) ? Number(exp) : null;
  } catch {
    return null;
  }
}

/** When the token that the gateway has should be followed by another one. */
class Renewal {
  /** Unix time. */
  due = Infinity;
  /** @type {number | null} */
  #exp = null;
  #failures = 0;

  /** The gateway was shown this one. @param {string} token */
  shown(token) {
    this.#exp = expiry(token);
    const left = (this.#exp ?? 0) - wall();
    if (this.#exp === null) this.due = Infinity;
    else if (left <= 0) this.putOff(); // by this machine's clock, which is ahead, or all of them would be over
    else {
      this.due = this.#exp - Math.min(EARLY, left / 4);
      this.#failures = 0;
    }
  }

  /** There was no fresh one to be had: after half of what is left, and then less and less often. */
  putOff() {
    const left = (this.#exp ?? wall()) - wall();
    this.due = wall() + Math.max(Math.min(LONGEST_RENEWAL_PAUSE, RENEWAL_PAUSE * 2 ** this.#failures), left / 2);
    this.#failures += 1;
  }

  /** None is taken. */
  stop() {
    this.due = Infinity;
  }
}

// ---- the pace

/** How often a client speaks: the gateway closes the connection (1008) of one that sends too many messages. */
class Pace {
  #slower = 1;
  #allowance = AT_ONCE;
  #since = -Infinity;

  /** A new connection, of which the gateway has heard nothing yet. @param {number} at */
  connected(at) {
    this.#allowance = AT_ONCE / this.#slower;
    this.#since = at;
  }

  /** The gateway found it too fast. */
  slowDown() {
    this.#slower = Math.min(MOST_SLOWER, 2 * this.#slower);
  }

  /** Seconds until the next message may be sent; 0 if one may, and then it counts as sent. @param {number} at */
  wait(at) {
    const perSecond = A_SECOND / this.#slower;
    const more = Math.max(0, at - this.#since) * perSecond;
    this.#allowance = Math.min(AT_ONCE / this.#slower, this.#allowance + more);
    this.#since = at;
    if (this.#allowance < 1 - 1e-9) return (1 - this.#allowance) / perSecond;
    this.#allowance -= 1;
    return 0;
  }

  /** These names, message by message. @param {string[]} names */
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

/** How a connection ended. Thrown by what talks to the gateway only, never by a callback. */
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
 * What a frame comes to, in turn.
 *
 * @typedef {{ say: string } | { live: string[] } | { place: Place } | { event: PeatioEvent } | { notice: any }
 *   | { complaint: string, refused: boolean, postponed: boolean } | { renewed: true }} Step
 * @typedef {{ cursor: string | null, complete: boolean }} Place where the client is, and whether it has got everything
 *   before that
 */

/** What is said on one connection. Knows no socket. */
class Conversation {
  /** Streams that the gateway was asked for. @type {Set<string>} */
  asked;
  /** To connect to. @type {string} */
  address;
  /** Whether the answer to a fresh token is due. */
  renewing = false;

  #token;
  #cursor;
  #ranger;
  #notices;
  /** @type {string[]} */
  #rest;
  /** What the gateway is expected to answer. @type {"first" | "token" | "streams" | "nothing"} */
  #awaited = "first";
  /** Told once events come. @type {Place | null} */
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
      // The token comes by a message, because pages cannot send it along; `…/private` would ask for it earlier.
      parts.pathname = parts.pathname.replace(/\/private(\/*)$/, "/public$1");
      let room = QUERY_LENGTH;
      for (const name of streams.filter(isPublic)) {
        room -= "stream=&".length + encodeURIComponent(name).length;
        if (room < 0) break; // the others come by messages
        parts.searchParams.append("stream", name);
        this.asked.add(name);
      }
      if (!parts.searchParams.has("stream")) parts.searchParams.append("stream", "");
      if (notices && token === null) parts.searchParams.append("notices", "1");
    }
    this.address = parts.href;
  }

  /** Whether events come. */
  get live() {
    return this.#awaited === "nothing";
  }

  /** What to say for these streams. @param {string[]} streams */
  subscribe(streams) {
    for (const name of streams) this.asked.add(name);
    return JSON.stringify({ event: "subscribe", streams });
  }

  /** @param {string[]} streams */
  unsubscribe(streams) {
    for (const name of streams) this.asked.delete(name);
    return JSON.stringify({ event: "unsubscribe", streams });
  }

  /** What to say with a fresh token. @param {string} token */
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
    if (!frame) throw new Ended(LOST, "not the gateway's");
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
        // A gateway that does not know of resuming promises nothing.
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
    // The gateway could not look at the token.
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

/** A WebSocket whose frames are asked for one by one. */
class Line {
  #socket;
  #silence;
  #ask;
  /** @type {string[]} */
  #frames = [];
  #length = 0;
  #opened = false;
  #paused = false;
  /** What comes once the frames are taken. @type {Ended | null} */
  #ended = null;
  #failure = "connection lost";
  #asked = 0; // when the line was asked for a sign of life; 0 once there was one
  #nudged = false;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #pulse;
  /** Wakes who waits. */
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
      this.#failure = message || this.#failure; // a browser does not tell
      // Node 22 tells of a connection that failed by this event alone (undici 6, nodejs/undici#3546).
      if (!this.#opened) this.#end(new Ended(LOST, this.#failure));
    });
    socket.addEventListener("close", (/** @type {{ code: number, reason: string }} */ { code, reason }) =>
      this.#end(new Ended(code, reason || this.#failure, Number(/retry after (\d{1,9})/.exec(reason)?.[1] ?? 0))),
    );
    // What only `ws` tells of.
    socket.on?.("pong", () => this.#live());
    socket.on?.("unexpected-response", (/** @type {any} */ request, /** @type {any} */ response) => {
      const later = /^\d{1,9}$/.exec(response.headers["retry-after"] ?? "")?.[0] ?? 0;
      this.#end(new Ended(response.statusCode, `HTTP ${response.statusCode}`, Number(later)));
      request.destroy();
    });
  }

  /** Resolves once it is open. */
  async open() {
    await this.#until(OPEN, () => this.#opened);
    if (!this.#opened && !this.#ended) this.#abandon("no connection in time");
    if (this.#ended) throw this.#ended;
  }

  /**
   * The next frame.
   *
   * @param {number} seconds
   * @returns {Promise<string | null>} null after so many seconds
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

  /** Let `receive` come back, though there is no frame. */
  nudge() {
    this.#nudged = true;
    this.#wake();
  }

  /** @param {string} text */
  say(text) {
    if (this.#socket.readyState === 1) this.#socket.send(text);
  }

  /** End it, with a closing handshake. What has come and was not taken is forgotten. */
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

  // A page in the background is woken once a minute only: what counts is how long an answer has been due.
  #feel() {
    if (this.#paused) return;
    if (this.#asked && now() - this.#asked >= this.#silence / 2) return this.#abandon("no sign of life");
    if (this.#asked || !this.#ask || this.#socket.readyState !== 1) return;
    this.#asked = now();
    this.#ask();
  }

  /** The other side may not be there any more: its close frame is not waited for. @param {string} reason */
  #abandon(reason) {
    this.#end(new Ended(LOST, reason));
    this.#socket.terminate?.();
  }

  /** Nothing more of this socket counts. @param {Ended} ended */
  #end(ended) {
    if (this.#ended) return;
    this.#ended = ended;
    clearInterval(this.#pulse);
    if (this.#paused) this.#socket.resume(); // or it would not see the other side's close frame
    this.#socket.close(1000);
    this.#wake();
  }
}

// ---- the client

/** A member's orders and trades, and streams, over as many connections as it takes. */
export class PeatioClient {
  /** Of the last event taken: what a later process needs to go on. @type {string | null} */
  cursor;
  /** What it is about. @type {"disconnected" | "connecting" | "connected" | "closed"} */
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
  /** Names of books of which a new snapshot is to be asked for. @type {Set<string>} */
  #holes = new Set();
  #snapshotsDue = 0; // by the clock, not before
  /** @type {string | null} the token that the gateway was shown last */
  #shown = null;
  /** @type {string | null} the one that is no good any more */
  #refused = null;
  #refusals = 0;
  #failures = 0;
  #renewal = new Renewal();
  #failed = false; // the call for a token
  /** Settles with the call for a token that is under way. @type {Promise<void> | null} */
  #asked = null;
  /** What came of it. @type {{ token: string } | { error: unknown } | null} */
  #given = null;
  #pace = new Pace();
  /** Speaks when the pace allows. @type {ReturnType<typeof setTimeout> | undefined} */
  #later;
  #running = false;
  /** @type {AsyncGenerator<PeatioEvent, void, undefined> | null} */
  #events = null;
  /** @type {Conversation | null} */
  #conversation = null;
  /** @type {Line | null} */
  #line = null;
  #stop = () => {}; // ends what is waited for

  /**
   * @param {string} url of the gateway
   * @param {object} [options]
   * @param {() => string | Promise<string>} [options.token] called for each connection, and before the token runs out;
   *   gives the session's token, a fresh one if it can. What it throws is told as an "error" and it is asked again
   *   later, but for `Refused`. None for public streams only.
   * @param {string[]} [options.streams] to be subscribed to, private ones (`order`, `trade`) too; then Ranger's protocol
   *   is spoken. Without any it is the classic one, with all orders and trades of the member.
   * @param {string | null} [options.cursor] of the last event that was taken earlier; null to begin now
   * @param {number} [options.silence] seconds without a sign of life after which a line is dead
   * @param {any} [options.WebSocket] instead of `ws` or the browser's
   * @throws {TypeError} these cannot work together
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
      throw new TypeError("the classic protocol needs a token; without one name public streams, or a path …/public");
    this.#check([...this.#wanted]);
  }

  /**
   * Have a callback called.
   *
   * @template {keyof Callbacks | (string & {})} Name
   * @param {Name} name one of `Callbacks`, or a stream's (`btcusd.trades`) for its events
   * @param {Name extends keyof Callbacks ? Callbacks[Name] : (event: PeatioEvent) => unknown} callback
   * @returns {this}
   * @throws {TypeError} nothing is called so
   */
  on(name, callback) {
    if (!NAMES.includes(name) && !name.includes("."))
      throw new TypeError(`${name} is no stream, and none of ${NAMES.join(", ")}`);
    this.#callbacks.set(name, [...(this.#callbacks.get(name) ?? []), callback]);
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
      while (!(await this.#next()).done);
    } finally {
      this.#running = false;
    }
  }

  /**
   * Events, one after the other. A loop may be left, and another one goes on where it was; nothing is read meanwhile.
   *
   * @returns {AsyncIterator<PeatioEvent, void, undefined>}
   */
  [Symbol.asyncIterator]() {
    return { next: () => this.#next() };
  }

  /**
   * More streams, now and after each return.
   *
   * @param {...string} streams
   * @throws {TypeError} private ones without a token, or in the classic protocol
   */
  subscribe(...streams) {
    this.#check(streams);
    for (const name of streams) this.#wanted.add(name);
    this.#speak();
  }

  /**
   * Fewer of them.
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
   * Have a market's book kept.
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
    // If the stream is not new, nobody sends its book by himself.
    if (this.#wanted.has(stream) || this.#conversation?.asked.has(stream)) this.#holes.add(name);
    this.subscribe(stream);
    return book;
  }

  /** End it, with a closing handshake where there is a connection; harmless a second time. */
  close() {
    this.state = "closed";
    clearTimeout(this.#later);
    this.#line?.close();
    this.#stop();
  }

  /** Say what there is to say about streams; what comes too soon is said later. */
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
      if (!this.#token && !isPublic(name)) throw new TypeError(`${name}: only public streams come without a token`);
      if (!this.#ranger && !name.includes("."))
        throw new TypeError(`${name}: in the classic protocol orders and trades come by themselves, and no other`);
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
    if (NO_RETURN.includes(code)) why = `closed: ${code} ${reason}; it would happen again`;
    else if (this.#refusals >= MOST_REFUSALS)
      why = `the gateway does not take this token, nor ${MOST_REFUSALS - 1} before it`;
    const pause = why ? null : this.#secondsAfter(ended);
    await this.#tell("disconnected", { code, reason, pause });
    if (pause === null) throw new Refused(why);
    if (!this.#isClosed()) await this.#sleep(pause);
  }

  /**
   * How long to wait before coming back: growing, with full jitter, so that many who left together do not return
   * together; on top of what the gateway asked for.
   *
   * @param {Ended} ended
   */
  #secondsAfter({ code, asked }) {
    if ((NO_ROOM.includes(code) || code === TOO_FAST) && !asked) {
      // There will hardly be any at once.
      this.#failures = Math.max(this.#failures, 4);
      asked = FULL_PAUSE;
    }
    const jitter = Math.random() * Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** this.#failures);
    this.#failures += 1;
    return Math.min(asked, LONGEST_ASKED) + jitter;
  }

  /** One connection. */
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
      throw new Refused("the gateway does not take this token any more, and there is no other");
    this.#shown = token;
    return token;
  }

  /** Ask for a token, one call at a time. The line is nudged when something has come of it. */
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

  /** The token that was given; undefined if there is none. */
  async #taken() {
    const given = this.#given;
    this.#given = null;
    this.#failed = Boolean(given && "error" in given);
    if (!given || !("error" in given)) return given?.token;
    if (given.error instanceof Refused) throw given.error;
    // As likely as not, what gives tokens is out of reach along with the gateway.
    await this.#tell("error", `no token: ${given.error}`);
    return undefined;
  }

  /**
   * One frame, or what is due before one comes.
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
   * Show a fresh token on the connection there is. Events go on until there is one.
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
      this.cursor = cursor; // only now: if a callback threw, it has to be told again
    } else if ("notice" in step) {
      await this.#tell("notice", step.notice);
    } else if ("renewed" in step) {
      this.#refused = null;
      this.#refusals = 0;
      if (this.#shown !== null) this.#renewal.shown(this.#shown);
    } else {
      if (step.postponed) this.#shown = null; // the gateway does not know it yet: it may be shown again
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
    // And none that is called as other callbacks are.
    if (stream === "order" || stream === "trade" || stream.includes(".")) await this.#tell(stream, event);
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
      await this.#tell("error", `${stream}: a body that is no order book; it is not kept`);
    }
    if (outcome === "hole") this.#holes.add(name);
    if (outcome === "changed") await this.#tell("book", book);
    if (wasCurrent && !book.current) await this.#tell("stale", book);
  }

  /** New snapshots of all books that need one. @param {Line} line @param {Conversation} conversation */
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
    return Object.keys(frame).length && Object.getPrototypeOf(frame) === Object.prototype ? frame : null;
  } catch {
    return null;
  }
}

/** @param {string} stream */
function isPublic(stream) {
  return stream.split(".").length === 2;
}

/** Seconds that only ever grow. */
function now() {
  return performance.now() / 1000;
}

/** Unix time. */
function wall() {
  return Date.now() / 1000;
}

/** In Node that of `ws`, which tells of HTTP statuses and can stop reading. Bundlers shall not look for it. */
async function webSocket() {
  const page = globalThis.WebSocket;
  if (!(/** @type {any} */ (globalThis).process?.versions?.node)) return page;
  try {
    // @ts-ignore it need not be there
    return (await import(/* webpackIgnore: true */ /* @vite-ignore */ "ws")).WebSocket;
  } catch (error) {
    if (page) return page;
    throw error;
  }
}
