// The message rate of a client. Knows no clock and no socket.

// Messages about streams and requests at once, and per second: less than the 60 and 10 that the gateway allows by default,
// because tokens, pings and requests for snapshots need messages too.
const AT_ONCE = 20;
const A_SECOND = 8;
const PIECE = 100; // streams in a message
const PIECE_LENGTH = 4000; // and characters of their names together
const MOST_SLOWER = 16;

/** The message rate: the gateway closes a connection (1008) that sends too many messages. */
export class Pace {
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
