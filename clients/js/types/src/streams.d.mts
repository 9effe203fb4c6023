import { Book } from "./book.mjs";
import { Shelf } from "./shelf.mjs";
export declare class Streams {
    #private;
    /** Order books. */
    shelf: Shelf;
    /** @param {import("./route.mjs").Route} route */
    constructor(route: import("./route.mjs").Route);
    get wanted(): string[];
    /** @param {string[]} streams */
    subscribe(streams: string[]): void;
    /** @param {string[]} streams */
    unsubscribe(streams: string[]): void;
    /** @param {string} market @returns {Book} */
    book(market: string): Book;
    /** There is a new connection. @param {import("./conversation.mjs").Conversation} conversation @param {import("./line.mjs").Line} line */
    join(conversation: import("./conversation.mjs").Conversation, line: import("./line.mjs").Line): void;
    /** The connection ended. Return the books that were current. */
    leave(): Book[];
    /** The gateway found the client too fast. */
    slowDown(): void;
    /** Send the pending changes, now or as soon as the pace allows. */
    speak(): void;
    /** Request new snapshots of all books that need one. */
    askAgain(): void;
    /** Seconds until `askAgain` is due. */
    seconds(): number;
}
