/** Bytes a second, over the last seconds. */

const SECONDS = 5;

export class Rate {
  /** @type {{ at: number, bytes: number }[]} */
  #texts = [];
  #since = performance.now();

  /** @param {string} text */
  add(text) {
    this.#texts.push({ at: performance.now(), bytes: new TextEncoder().encode(text).length });
  }

  reset() {
    this.#texts = [];
    this.#since = performance.now();
  }

  /** The rate in words, for a user. */
  toString() {
    const now = performance.now();
    while (this.#texts.length && this.#texts[0].at < now - 1000 * SECONDS) this.#texts.shift();
    const bytes = this.#texts.reduce((sum, text) => sum + text.bytes, 0);
    const seconds = Math.min(SECONDS, Math.max(1, (now - this.#since) / 1000));
    return `${(bytes / seconds / 1000).toFixed(1)} KB/s`;
  }
}
