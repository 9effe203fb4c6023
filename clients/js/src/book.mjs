// Order books from a snapshot and increments. Knows no connection.

/** @typedef {[price: string, volume: string]} Level with the digits as published */

/** This many consecutive increments with old, rising numbers mean that the publisher's sequence restarted. */
const RESTART = 3;

/**
 * The order book of a market, from a snapshot and increments, checked by their `sequence`. `PeatioClient.book()`
 * creates and maintains it.
 */
export class Book {
  /** Name of the pair of streams, without `-snap` and `-inc`: `btcusd.ob`. @type {string} */
  name;
  /** The stream that it comes from: `btcusd.ob-inc`, or a view (`btcusd.ob-inc@250ms`, `btcusd.ob-top@20`). @type {string} */
  stream;
  /**
   * Whether the book is correct. False before the first snapshot, and after a gap in the sequence or the end of a
   * connection until the next snapshot. The last state can still be read in the meantime.
   */
  current = false;
  /**
   * Number of the last change, a BigInt above 2^53; null if the publisher does not number changes.
   *
   * @type {number | bigint | null}
   */
  sequence = null;

  #asks = new Side();
  #bids = new Side();
  /** Number of the last increment, even if it was an old one. @type {number | bigint | null} */
  #latest = null;
  /** Consecutive ignored increments with rising numbers. */
  #behind = 0;

  /** @param {string} name @param {string} [stream] */
  constructor(name, stream = `${name}-inc`) {
    this.name = name;
    this.stream = stream;
  }

  /** The market: `btcusd`. @returns {string} */
  get market() {
    return this.name.replace(/\.ob$/, "");
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
   * @param {"snap" | "inc" | "changes"} kind `snap` also for the best levels; `changes` of a view: the last volume of each
   *   price that changed
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
    } else if (kind === "changes") {
      const previous = sequenceOf(body.previous);
      if (sequence !== null && previous !== null && this.sequence !== null) {
        if (sequence <= this.sequence) return "ignored";
        this.current = previous <= this.sequence;
        if (!this.current) return "hole";
      }
    } else if (sequence !== null && this.sequence !== null) {
      if (sequence <= this.sequence) return this.#lookBack(sequence);
      this.current = follows(this.sequence, sequence);
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
   * @param {number | bigint} sequence
   */
  #lookBack(sequence) {
    const goesOn = this.#latest !== null && follows(this.#latest, sequence);
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

/** @param {unknown} value @returns {number | bigint | null} a number if that is exact */
function sequenceOf(value) {
  if (value === undefined || value === null) return null;
  // Where the engine does not report the texts of numbers, it has rounded large ones.
  if (!/^-?\d{1,64}$/.test(String(value)) || (typeof value === "number" && !Number.isSafeInteger(value)))
    throw new TypeError("no sequence");
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : BigInt(String(value));
}

/** @param {number | bigint} before @param {number | bigint} sequence */
function follows(before, sequence) {
  return BigInt(sequence) === BigInt(before) + 1n;
}

/** Numbers as their texts, where the engine reports them (Node 22, and current browsers). */
export function exactly(/** @type {string} */ _, /** @type {unknown} */ value, /** @type {any} */ context) {
  return typeof value === "number" && context?.source !== undefined ? context.source : value;
}
