import { Shelf } from "./shelf.mjs";
import { Trades } from "./trades.mjs";
export declare class Streams {
    #private;
    /** Order books. */
    shelf: Shelf;
    /** Positions in public trades. */
    trades: Trades;
    /** @param {import("./route.mjs").Route} route @param {import("./view.mjs").View} view */
    constructor(route: import("./route.mjs").Route, view: import("./view.mjs").View);
    get wanted(): string[];
    /** @param {string[]} streams */
    subscribe(streams: string[]): void;
    /** @param {string[]} streams */
    unsubscribe(streams: string[]): void;
    /** @param {string} market @param {import("./view.mjs").View} given @returns {import("./book.mjs").Book} */
    book(market: string, given: import("./view.mjs").View): import("./book.mjs").Book;
    /** Use a new connection. @param {import("./conversation.mjs").Conversation} conversation @param {import("./line.mjs").Line} line */
    join(conversation: import("./conversation.mjs").Conversation, line: import("./line.mjs").Line): void;
    /** Forget the connection, which has ended. Return the books that were current. */
    leave(): import("./book.mjs").Book[];
    /** Send more slowly: the gateway found the client too fast. */
    slowDown(): void;
    /** The seconds until another message may be sent. With 0, it counts as sent. */
    turn(): number;
    /** Send the pending changes, now or as soon as the pace allows. */
    speak(): void;
    /** Request new snapshots of all books that need one. */
    askAgain(): void;
    /** Errors about books that have not come. */
    late(): string[];
    /** Seconds until `askAgain` or `late` is due. */
    seconds(): number;
}
