// The order books that a client maintains, and which of them need a new snapshot. Knows no socket.

import { Book, exactly } from "./book.mjs";
import { streamOf } from "./view.mjs";

const SNAPSHOTS = 1; // shortest time between two requests for snapshots: the message rate is limited
const LATE = 10; // a book that has not come by then is reported: its market may not exist

export class Shelf {
  /** @type {Map<string, Book>} */
  #books = new Map();
  /** Names of books that need a new snapshot. @type {Set<string>} */
  #holes = new Set();
  #due = 0; // earliest time of the next request
  /** Names of books, and since when the client waits for them; null before it looks. @type {Map<string, number | null>} */
  #awaited = new Map();

  /**
   * The book of a market, from now on in this view, and the stream that it came from before if that was another one.
   * Creates the book if necessary.
   *
   * @param {string} market
   * @param {import("./view.mjs").View} view
   * @returns {[book: Book, before: string | null]}
   */
  put(market, view) {
    const name = market.includes(".") ? market : `${market}.ob`;
    const stream = streamOf(name, view);
    const book = this.#books.get(name) ?? new Book(name, stream);
    this.#books.set(name, book);
    if (!book.current && !this.#awaited.has(name)) this.#awaited.set(name, null);
    if (book.stream === stream) return [book, null];
    const before = book.stream;
    book.stream = stream;
    book.current = false;
    return [book, before];
  }

  /** Request a new snapshot of a book. @param {string} name */
  miss(name) {
    this.#holes.add(name);
  }

  /** Remove the book of a stream. @param {string} stream */
  drop(stream) {
    const book = this.#books.get(stream.replace(/-[^-]*$/, ""));
    if (book?.stream !== stream) return;
    book.current = false;
    this.#books.delete(book.name);
    this.#awaited.delete(book.name);
  }

  /**
   * Apply an event to its book.
   *
   * @param {{ stream: string, text: string }} event
   * @returns {[name: "book" | "stale" | "error", what: Book | string][]} the callbacks to call
   */
  take({ stream, text }) {
    if (!this.#books.size) return [];
    const [, name, suffix] = /^(.*)-((?:snap|inc|top@).*)$/.exec(stream) ?? [];
    const book = name && this.#books.get(name);
    if (!book || (stream !== book.stream && (suffix !== "snap" || book.stream.includes("-top@")))) return [];
    const kind = suffix === "inc" ? "inc" : suffix.startsWith("inc@") ? "changes" : "snap";
    /** @type {[name: "book" | "stale" | "error", what: Book | string][]} */
    const told = [];
    const wasCurrent = book.current;
    try {
      const body = JSON.parse(text, /** @type {any} */ (exactly))[stream];
      const outcome = book.take(kind, body);
      if (outcome === "hole") this.#holes.add(name);
      if (outcome === "changed") {
        this.#awaited.delete(name);
        told.push(["book", book]);
      }
    } catch {
      book.current = false;
      told.push(["error", `${stream}: the body is not an order book`]);
    }
    if (wasCurrent && !book.current) told.push(["stale", book]);
    return told;
  }

  /** Errors about books that have not come, each once on a connection. @param {number} at */
  late(at) {
    const late = [];
    for (const [name, since] of this.#awaited) {
      if (since === null) this.#awaited.set(name, at);
      else if (at - since >= LATE) {
        this.#awaited.delete(name);
        late.push(`${this.#books.get(name)?.stream}: no order book within ${LATE} s; is the name right?`);
      }
    }
    return late;
  }

  /** Seconds until snapshots have to be requested, or a book is late; infinite for never. @param {number} at */
  seconds(at) {
    const late = [...this.#awaited.values()].map((since) => (since ?? at) + LATE - at);
    return Math.min(this.#holes.size ? this.#due - at : Infinity, ...late);
  }

  /** The streams of all books that need a new snapshot, at most once per `SNAPSHOTS`. @param {number} at */
  toAsk(at) {
    if (!this.#holes.size || this.#due > at) return [];
    const books = [...this.#holes].flatMap((name) => this.#books.get(name) ?? []);
    const streams = books.filter((book) => !book.current).map((book) => book.stream);
    this.#holes.clear();
    if (streams.length) this.#due = at + SNAPSHOTS;
    return streams;
  }

  /** Mark all books as stale after the end of a connection; return those that were current. */
  lose() {
    this.#holes.clear();
    this.#awaited = new Map([...this.#books.keys()].map((name) => [name, null]));
    const lost = [...this.#books.values()].filter((book) => book.current);
    for (const book of lost) book.current = false;
    return lost;
  }
}
