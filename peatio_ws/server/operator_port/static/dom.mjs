/** Small helpers to build the page. All text goes through `textContent`: what clients choose is never read as HTML. */

/** @param {string} id @returns {any} */
export const $ = (id) => document.getElementById(id);

/** @param {string} name @param {string} [text] @param {string} [kind] the element's class */
export const element = (name, text = "", kind = "") => Object.assign(document.createElement(name), { textContent: text, className: kind });

/** Change a text only if it differs, so that a selection stays. @param {Element} node @param {string} text */
export function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** @param {string} text @param {() => unknown} act @param {string} [kind] */
export function button(text, act, kind = "small") {
  const made = Object.assign(element("button", text, kind), { type: "button" });
  made.addEventListener("click", act);
  return made;
}

/** @param {string} text @param {string} hash @param {string} [kind] */
export const link = (text, hash, kind = "") => Object.assign(element("a", text, kind), { href: hash });

/** A text of this page whose parts in backquotes are code. @param {Element} parent @param {string} text */
export function setMarked(parent, text) {
  if (parent.textContent === text.replaceAll("`", "")) return;
  parent.replaceChildren(...text.split("`").map((part, number) => (number % 2 ? element("code", part) : part)));
}

/**
 * Text that a client or a member chose. Characters that nobody sees, or that turn the direction of writing, are shown as their
 * numbers, so that no text can pose as another one.
 *
 * @param {string} text
 */
export const visible = (text) =>
  text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cn}]/gu, (found) => `\\u{${found.codePointAt(0)?.toString(16)}}`);

/** @param {string} name @param {string} text of a client or a member @param {string} [kind] */
export const foreign = (name, text, kind = "") => element(name, visible(text), `foreign ${kind}`.trim());

/**
 * Rows of a list that are kept while their item is in it, so that focus and selection stay where they are.
 *
 * @template T
 */
export class Rows {
  /** @type {Map<string, { node: HTMLElement, show: (item: T) => void }>} */
  #rows = new Map();

  /**
   * @param {Element} parent
   * @param {(item: T) => string} key
   * @param {(item: T) => { node: HTMLElement, show: (item: T) => void }} make
   */
  constructor(parent, key, make) {
    this.parent = parent;
    this.key = key;
    this.make = make;
  }

  /** @param {T[]} items */
  show(items) {
    const keys = new Set(items.map(this.key));
    for (const [key, { node }] of this.#rows) {
      if (keys.has(key)) continue;
      node.remove();
      this.#rows.delete(key);
    }
    /** @type {Element | null} */
    let next = this.parent.firstElementChild;
    for (const item of items) {
      const key = this.key(item);
      const row = this.#rows.get(key) ?? this.make(item);
      this.#rows.set(key, row);
      row.show(item);
      if (row.node === next) next = next.nextElementSibling;
      else this.parent.insertBefore(row.node, next);
    }
  }
}
