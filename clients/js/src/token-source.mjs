// Calls the token function, one call at a time.

import { checked } from "./credentials.mjs";

export class TokenSource {
  #give;
  #arrived;
  /** Settles with the running call. @type {Promise<void> | null} */
  asked = null;
  /** @type {{ token: string } | { error: unknown } | null} */
  #given = null;

  /**
   * @param {string | (() => string | Promise<string>)} token the token, or the function
   * @param {() => void} arrived called when there is a result
   */
  constructor(token, arrived) {
    this.#give = typeof token === "function" ? token : () => token;
    this.#arrived = arrived;
  }

  /** Whether there is a result that was not taken. */
  get has() {
    return this.#given !== null;
  }

  /** Call the function, unless a call runs or has a result. */
  ask() {
    if (this.asked || this.#given) return;
    this.asked = (async () => checked(await this.#give()))()
      .then(
        (token) => (this.#given = { token }),
        (error) => (this.#given = { error }),
      )
      .then(() => {
        this.asked = null;
        this.#arrived();
      });
  }

  /** The result: a token, undefined if there is none yet. Throws the error of the function. */
  take() {
    const given = this.#given;
    this.#given = null;
    if (given && "error" in given) throw given.error;
    return given?.token;
  }
}
