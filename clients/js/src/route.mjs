// The address of the gateway, and the initial streams.

import { PRIVATE, isPublic } from "./conversation.mjs";

export class Route {
  /** The address without streams. @type {string} */
  url;
  /** All requested streams, without those of books. @type {string[]} */
  streams;
  /** Markets whose books the client maintains from the start. @type {readonly string[]} */
  books;
  #authenticated;

  /**
   * @param {string} url
   * @param {readonly string[]} streams
   * @param {boolean} authenticated whether the connection belongs to a member: by a token, or by the proxy
   * @param {readonly string[]} books
   * @throws {TypeError} the arguments contradict each other
   */
  constructor(url, streams, authenticated, books) {
    this.books = books;
    const parts = new URL(url);
    if (!["ws:", "wss:"].includes(parts.protocol))
      throw new TypeError("the address of the gateway has to be like ws://host:port/ or wss://host/");
    const named = parts.searchParams.getAll("stream").flatMap((names) => names.split(","));
    parts.searchParams.delete("stream");
    this.url = parts.href;
    this.streams = [...named, ...streams].filter(Boolean);
    this.#authenticated = authenticated;
    const last = parts.pathname.replace(/\/+$/, "").split("/").at(-1);
    if (authenticated) {
      if (!this.streams.length) this.streams = PRIVATE;
    } else if (last === "private") {
      throw new TypeError("…/private requires a token");
    } else if (!this.streams.length && !books.length && last !== "public") {
      throw new TypeError("pass a token for the orders and trades of a member, or name public streams");
    }
    this.check(this.streams);
  }

  /** @param {string[]} streams @throws {TypeError} the client cannot subscribe to one of them */
  check(streams) {
    for (const name of streams)
      if (!this.#authenticated && !isPublic(name))
        throw new TypeError(`${name} requires a token: it is not a public stream`);
  }
}
