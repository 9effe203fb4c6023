import { Book } from "./book.mjs";
export declare class Shelf {
    #private;
    /**
     * The book of a market, from now on in this view, and the stream that it came from before if that was another one.
     * Creates the book if necessary.
     *
     * @param {string} market
     * @param {import("./view.mjs").View} view
     * @returns {[book: Book, before: string | null]}
     */
    put(market: string, view: import("./view.mjs").View): [book: Book, before: string | null];
    /** Request a new snapshot of a book. @param {string} name */
    miss(name: string): void;
    /** Remove the book of a stream. @param {string} stream */
    drop(stream: string): void;
    /**
     * Apply an event to its book.
     *
     * @param {{ stream: string, text: string }} event
     * @returns {[name: "book" | "stale" | "error", what: Book | string][]} the callbacks to call
     */
    take({ stream, text }: {
        stream: string;
        text: string;
    }): [name: "book" | "stale" | "error", what: Book | string][];
    /** Errors about books that have not come, each once on a connection. @param {number} at */
    late(at: number): string[];
    /** Seconds until snapshots have to be requested, or a book is late; infinite for never. @param {number} at */
    seconds(at: number): number;
    /** The streams of all books that need a new snapshot, at most once per `SNAPSHOTS`. @param {number} at */
    toAsk(at: number): string[];
    /** Mark all books as stale after the end of a connection; return those that were current. */
    lose(): Book[];
}
