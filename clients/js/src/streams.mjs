// The streams that a client wants, and the messages about them.

import { Book } from "./book.mjs";
import { now } from "./clocks.mjs";
import { Pace } from "./pace.mjs";
import { Shelf } from "./shelf.mjs";

export class Streams {
  /** Order books. */
  shelf = new Shelf();
  #route;
  /** @type {Set<string>} */
  #wanted;
  #pace = new Pace();
  /** Sends changes when the pace allows. @type {ReturnType<typeof setTimeout> | undefined} */
  #later;
  /** @type {import("./conversation.mjs").Conversation | null} */
  #conversation = null;
  /** @type {import("./line.mjs").Line | null} */
  #line = null;

  /** @param {import("./route.mjs").Route} route */
  constructor(route) {
    this.#route = route;
    this.#wanted = new Set(route.streams);
  }

  get wanted() {
    return [...this.#wanted];
  }

  /** @param {string[]} streams */
  subscribe(streams) {
    this.#route.check(streams);
    for (const name of streams) this.#wanted.add(name);
    this.speak();
  }

  /** @param {string[]} streams */
  unsubscribe(streams) {
    for (const name of streams) {
      this.#wanted.delete(name);
      this.shelf.drop(name);
    }
    this.speak();
  }

  /** @param {string} market @returns {Book} */
  book(market) {
    const name = market.includes(".") ? market : `${market}.ob`;
    const known = this.shelf.get(name);
    if (known) return known;
    const stream = `${name}-inc`;
    this.#route.check([stream]);
    const book = new Book(name);
    this.shelf.put(book);
    // If the stream is not new, the gateway sends its book only on request.
    if (this.#wanted.has(stream) || this.#conversation?.asked.has(stream)) this.shelf.miss(name);
    this.subscribe([stream]);
    return book;
  }

  /** There is a new connection. @param {import("./conversation.mjs").Conversation} conversation @param {import("./line.mjs").Line} line */
  join(conversation, line) {
    this.#conversation = conversation;
    this.#line = line;
    this.#pace.connected(now());
  }

  /** The connection ended. Return the books that were current. */
  leave() {
    clearTimeout(this.#later);
    this.#conversation = null;
    this.#line = null;
    return this.shelf.lose();
  }

  /** The gateway found the client too fast. */
  slowDown() {
    this.#pace.slowDown();
  }

  /** Send the pending changes, now or as soon as the pace allows. */
  speak() {
    const conversation = this.#conversation;
    while (conversation?.live) {
      const [gone] = this.#pace.pieces([...conversation.asked].filter((name) => !this.#wanted.has(name)));
      const [fresh] = this.#pace.pieces(this.wanted.filter((name) => !conversation.asked.has(name)));
      if (!gone && !fresh) return;
      const seconds = this.#pace.wait(now());
      if (seconds) {
        clearTimeout(this.#later);
        this.#later = setTimeout(() => this.speak(), seconds * 1000);
        return;
      }
      this.#line?.say(gone ? conversation.unsubscribe(gone) : conversation.subscribe(fresh));
    }
  }

  /** Request new snapshots of all books that need one. */
  askAgain() {
    if (!this.#conversation) return;
    for (const streams of this.#pace.pieces(this.shelf.toAsk(now()))) {
      this.#line?.say(this.#conversation.unsubscribe(streams));
      this.#line?.say(this.#conversation.subscribe(streams));
    }
  }

  /** Seconds until `askAgain` is due. */
  seconds() {
    return this.shelf.seconds(now());
  }
}
