// How often a client wants a book, and how much of it.

const EVERY = [0, 100, 250, 500, 1000, 2000, 5000];
const DEPTHS = [1, 5, 10, 20, 50];

/**
 * How often a client wants a book, and how much of it.
 *
 * @typedef {object} View
 * @property {0 | 100 | 250 | 500 | 1000 | 2000 | 5000} [every] milliseconds between two changes, at least; 0 for each change
 *   as published. Without it, each change; with a depth, every 500 ms.
 * @property {1 | 5 | 10 | 20 | 50} [depth] levels of each side; omit it for the whole book
 */

/** The view, if the gateway has it. @param {View} view @returns {View} @throws {TypeError} it does not */
export function checkedView({ every, depth }) {
  if (every !== undefined && !EVERY.includes(every))
    throw new TypeError(`every: ${every}: has to be one of ${EVERY.join(", ")} milliseconds`);
  if (depth !== undefined && !DEPTHS.includes(depth))
    throw new TypeError(`depth: ${depth}: has to be one of ${DEPTHS.join(", ")} levels`);
  if (depth !== undefined && every === 0) throw new TypeError("every: 0: with a depth, has to be at least 100 milliseconds");
  return { every, depth };
}

/** The stream of this view of a book. @param {string} name @param {View} view */
export function streamOf(name, { every, depth }) {
  if (depth === undefined) return every ? `${name}-inc@${every}ms` : `${name}-inc`;
  return every ? `${name}-top@${depth}/${every}ms` : `${name}-top@${depth}`;
}
