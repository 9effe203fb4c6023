// The marks of public trades, by which a client receives those that it missed. Knows no socket.
//
// docs/protocol.md describes marks under "Trades across a cut". A gateway without marks ignores the requests; then each
// reconnection may have missed trades.

/** @param {string} stream */
export function isTrades(stream) {
  return /^[^.]+\.trades$/.test(stream);
}

/** The client's positions in streams of trades. */
export class Trades {
  /** By subscribed stream: the mark of the last processed event; null without one. @type {Map<string, string | null>} */
  #marks = new Map();
  /** Streams whose missed events were requested. @type {Set<string>} */
  #asked = new Set();

  /** What to add to an address that subscribes to these streams. @param {string[]} streams @returns {[string, string][]} */
  query(streams) {
    const after = Object.entries(this.#after(streams));
    if (after.length) return after.map(([stream, mark]) => ["after", `${stream}:${mark ?? ""}`]);
    return streams.some(isTrades) ? [["marks", "1"]] : [];
  }

  /** What to add to a message that subscribes to these streams. @param {string[]} streams */
  fields(streams) {
    return streams.some(isTrades) ? { after: this.#after(streams) } : {};
  }

  /**
   * Read the reply to a subscription.
   *
   * @param {string[]} streams the subscribed ones
   * @param {{ complete?: Record<string, boolean>, marks?: Record<string, string> }} frame
   * @returns {string[]} the streams of which events may be missing
   */
  take(streams, { complete = {}, marks = {} }) {
    const missed = [];
    for (const stream of streams.filter(isTrades)) {
      if (this.#asked.delete(stream)) {
        if (complete[stream] === true) continue;
        missed.push(stream);
      } else if (this.#marks.has(stream)) {
        continue; // it was subscribed before
      }
      this.#marks.set(stream, marks[stream] ?? null);
    }
    return missed;
  }

  /** Record the mark of a processed event. @param {import("../peatio-client.mjs").PeatioEvent} event */
  seen({ stream, mark }) {
    if (this.#marks.has(stream)) this.#marks.set(stream, mark);
  }

  /** Forget these streams: the gateway is to stop sending them. @param {string[]} streams */
  drop(streams) {
    for (const stream of streams) {
      this.#marks.delete(stream);
      this.#asked.delete(stream);
    }
  }

  /** Forget all other streams: a new connection begins with these. @param {string[]} streams */
  keep(streams) {
    this.drop([...this.#marks.keys()].filter((stream) => !streams.includes(stream)));
  }

  /** @param {string[]} streams @returns {Record<string, string | null>} */
  #after(streams) {
    const known = streams.filter((stream) => this.#marks.has(stream));
    for (const stream of known) this.#asked.add(stream);
    return Object.fromEntries(known.map((stream) => [stream, this.#marks.get(stream) ?? null]));
  }
}
