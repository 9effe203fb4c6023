// The streams that a client wants, and the messages about them.

import { milliseconds, now } from "./clocks.mjs";
import { Pace } from "./pace.mjs";
import { Shelf } from "./shelf.mjs";
import { Trades } from "./trades.mjs";
import { checkedView } from "./view.mjs";

export class Streams {
  /** Order books. */
  shelf = new Shelf();
  /** Positions in public trades. */
  trades = new Trades();
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

  /** Pace and depth of books for which the user gives none. @type {import("./view.mjs").View} */
  #view;

  /** @param {import("./route.mjs").Route} route @param {import("./view.mjs").View} view */
  constructor(route, view) {
    this.#route = route;
    this.#view = view;
    this.#wanted = new Set(route.streams);
    this.subscribe(route.books.map((market) => this.shelf.put(market, view)[0].stream));
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

  /** @param {string} market @param {import("./view.mjs").View} given @returns {import("./book.mjs").Book} */
  book(market, given) {
    const view = checkedView(given.every === undefined && given.depth === undefined ? this.#view : given);
    this.#route.check([market.includes(".") ? market : `${market}.ob`]);
    const [book, before] = this.shelf.put(market, view);
    if (before !== null) this.#wanted.delete(before);
    // If the stream is not new, the gateway sends its book only on request.
    const known = this.#wanted.has(book.stream) || this.#conversation?.asked.has(book.stream);
    if (known && !book.current) this.shelf.miss(book.name);
    this.subscribe([book.stream]);
    return book;
  }

  /** Use a new connection. @param {import("./conversation.mjs").Conversation} conversation @param {import("./line.mjs").Line} line */
  join(conversation, line) {
    this.#conversation = conversation;
    this.#line = line;
    this.#pace.connected(now());
  }

  /** Forget the connection, which has ended. Return the books that were current. */
  leave() {
    clearTimeout(this.#later);
    this.#conversation = null;
    this.#line = null;
    return this.shelf.lose();
  }

  /** Send more slowly: the gateway found the client too fast. */
  slowDown() {
    this.#pace.slowDown();
  }

  /** The seconds until another message may be sent. With 0, it counts as sent. */
  turn() {
    return this.#pace.wait(now());
  }

  /** Send the pending changes, now or as soon as the pace allows. */
  speak() {
    const conversation = this.#conversation;
    while (conversation?.live) {
      const [gone] = this.#pace.pieces([...conversation.asked].filter((name) => !this.#wanted.has(name)));
      const [fresh] = this.#pace.pieces(this.wanted.filter((name) => !conversation.asked.has(name)));
      if (!gone && !fresh) return;
      const seconds = this.turn();
      if (seconds) {
        clearTimeout(this.#later);
        this.#later = setTimeout(() => this.speak(), milliseconds(seconds));
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

  /** Errors about books that have not come. */
  late() {
    return this.shelf.late(now());
  }

  /** Seconds until `askAgain` or `late` is due. */
  seconds() {
    return this.shelf.seconds(now());
  }
}
