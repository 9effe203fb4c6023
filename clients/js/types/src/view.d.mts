export type View = {
    /**
     * milliseconds between two changes, at least; 0 for each change
     * as published. Without it, each change; with a depth, every 500 ms.
     */
    every?: 0 | 100 | 250 | 500 | 1000 | 2000 | 5000;
    /**
     * levels of each side; omit it for the whole book
     */
    depth?: 1 | 5 | 10 | 20 | 50;
};
/**
 * How often a client wants a book, and how much of it.
 *
 * @typedef {object} View
 * @property {0 | 100 | 250 | 500 | 1000 | 2000 | 5000} [every] milliseconds between two changes, at least; 0 for each change
 *   as published. Without it, each change; with a depth, every 500 ms.
 * @property {1 | 5 | 10 | 20 | 50} [depth] levels of each side; omit it for the whole book
 */
/** The view, if the gateway has it. @param {View} view @returns {View} @throws {TypeError} it does not */
export declare function checkedView({ every, depth }: View): View;
/** The stream of this view of a book. @param {string} name @param {View} view */
export declare function streamOf(name: string, { every, depth }: View): string;
