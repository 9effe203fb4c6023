export type Level = [price: string, volume: string];
/**
 * The order book of a market, from a snapshot and increments, checked by their `sequence`. `PeatioClient.book()`
 * creates and maintains it.
 */
export declare class Book {
    #private;
    /** Name of the pair of streams, without `-snap` and `-inc`: `btcusd.ob`. @type {string} */
    name: string;
    /** The stream that it comes from: `btcusd.ob-inc`, or a view (`btcusd.ob-inc@250ms`, `btcusd.ob-top@20`). @type {string} */
    stream: string;
    /**
     * Whether the book is correct. False before the first snapshot, and after a gap in the sequence or the end of a
     * connection until the next snapshot. The last state can still be read in the meantime.
     */
    current: boolean;
    /**
     * Number of the last change, a BigInt above 2^53; null if the publisher does not number changes.
     *
     * @type {number | bigint | null}
     */
    sequence: number | bigint | null;
    /** @param {string} name @param {string} [stream] */
    constructor(name: string, stream?: string);
    /** The market: `btcusd`. @returns {string} */
    get market(): string;
    /** The asks, best first (ascending). @returns {Level[]} */
    get asks(): Level[];
    /** The bids, best first (descending). @returns {Level[]} */
    get bids(): Level[];
    /** The lowest ask; undefined if there are no asks. @returns {Level | undefined} */
    get bestAsk(): Level | undefined;
    /** The highest bid; undefined if there are no bids. @returns {Level | undefined} */
    get bestBid(): Level | undefined;
    /**
     * Apply the body of a frame.
     *
     * @param {"snap" | "inc" | "changes"} kind `snap` also for the best levels; `changes` of a view: the last volume of each
     *   price that changed
     * @param {any} body
     * @returns {"changed" | "ignored" | "hole"} `ignored`: the book already contains it; `hole`: increments are missing,
     *   and a new snapshot is needed
     * @throws {TypeError} the body is not a book; nothing was changed
     */
    take(kind: "snap" | "inc" | "changes", body: any): "changed" | "ignored" | "hole";
}
export type Decimal = {
    units: bigint;
    scale: number;
    about: number;
};
/** Numbers as their texts, where the engine reports them (Node 22, and current browsers). */
export declare function exactly(/** @type {string} */ _: string, /** @type {unknown} */ value: unknown, /** @type {any} */ context: any): any;
