// The order books that a client maintains, and which of them need a new snapshot. Knows no socket.

import { Book, exactly } from "./book.mjs";

const SNAPSHOTS = 1; // shortest time between two requests for snapshots: the message rate is limited

export class Shelf {
  /** @type {Map<string, Book>} */
  #books = new Map();
  /** Names of books that need a new snapshot. @type {Set<string>} */
  #holes = new Set();
  #due = 0; // earliest time of the next request

  /** The book of a market, if there is one. @param {string} name */
  get(name) {
    return this.#books.get(name);
  }

  /** @param {Book} book */
  put(book) {
    this.#books.set(book.name, book);
  }

  /** Request a new snapshot of a book. @param {string} name */
  miss(name) {
    this.#holes.add(name);
  }

  /** Remove the book of a stream. @param {string} stream */
  drop(stream) {
    const book = this.#books.get(stream.replace(/-inc$/, ""));
    if (!book) return;
    book.current = false;
    this.#books.delete(book.name);
  }

  /**
   * Apply an event to its book.
   *
   * @param {{ stream: string, text: string }} event
   * @returns {[name: "book" | "stale" | "error", what: Book | string][]} the callbacks to call
   */
  take({ stream, text }) {
    if (!this.#books.size) return [];
    const [, name, kind] = /^(.*)-(snap|inc)$/.exec(stream) ?? [];
    const book = name && this.#books.get(name);
    if (!book) return [];
    /** @type {[name: "book" | "stale" | "error", what: Book | string][]} */
    const told = [];
    const wasCurrent = book.current;
    try {
      const body = JSON.parse(text, /** @type {any} */ (exactly))[stream];
      const outcome = book.take(/** @type {"snap" | "inc"} */ (kind), body);
      if (outcome === "hole") this.#holes.add(name);
      if (outcome === "changed") told.push(["book", book]);
    } catch {
      book.current = false;
      told.push(["error", `${stream}: the body is not an order book`]);
    }
    if (wasCurrent && !book.current) told.push(["stale", book]);
    return told;
  }

  /** Seconds until snapshots have to be requested; infinite if none are needed. @param {number} at */
  seconds(at) {
    return this.#holes.size ? this.#due - at : Infinity;
  }

  /** The streams of all books that need a new snapshot, at most once per `SNAPSHOTS`. @param {number} at */
  toAsk(at) {
    if (this.seconds(at) > 0) return [];
    const names = [...this.#holes].filter((name) => this.#books.get(name)?.current === false);
    this.#holes.clear();
    if (names.length) this.#due = at + SNAPSHOTS;
    return names.map((name) => `${name}-inc`);
  }

  /** Mark all books as stale after the end of a connection; return those that were current. */
  lose() {
    this.#holes.clear();
    const lost = [...this.#books.values()].filter((book) => book.current);
    for (const book of lost) book.current = false;
    return lost;
  }
}
