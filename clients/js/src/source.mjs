// Calls a function of the user that gives a token or headers, one call at a time.

/** @template Result */
export class Source {
  #give;
  #arrived;
  /** Settles with the running call. @type {Promise<void> | null} */
  asked = null;
  /** @type {{ result: Result } | { error: unknown } | null} */
  #given = null;

  /**
   * @param {() => Promise<Result>} give the function; its result is not undefined
   * @param {() => void} [arrived] called when there is a result
   */
  constructor(give, arrived = () => {}) {
    this.#give = give;
    this.#arrived = arrived;
  }

  /** Whether there is a result that was not taken. */
  get has() {
    return this.#given !== null;
  }

  /** Call the function, unless a call runs or has a result. */
  ask() {
    if (this.asked || this.#given) return;
    this.asked = this.#give()
      .then(
        (result) => (this.#given = { result }),
        (error) => (this.#given = { error }),
      )
      .then(() => {
        this.asked = null;
        this.#arrived();
      });
  }

  /** The result; undefined if there is none yet. Throws the error of the function. */
  take() {
    const given = this.#given;
    this.#given = null;
    if (given && "error" in given) throw given.error;
    return given?.result;
  }
}
