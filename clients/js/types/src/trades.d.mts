/** @param {string} stream */
export declare function isTrades(stream: string): boolean;
/** The client's positions in streams of trades. */
export declare class Trades {
    #private;
    /** What to add to an address that subscribes to these streams. @param {string[]} streams @returns {[string, string][]} */
    query(streams: string[]): [string, string][];
    /** What to add to a message that subscribes to these streams. @param {string[]} streams */
    fields(streams: string[]): {
        after: Record<string, string | null>;
    } | {
        after?: undefined;
    };
    /**
     * Read the reply to a subscription.
     *
     * @param {string[]} streams the subscribed ones
     * @param {{ complete?: Record<string, boolean>, marks?: Record<string, string> }} frame
     * @returns {string[]} the streams of which events may be missing
     */
    take(streams: string[], { complete, marks }: {
        complete?: Record<string, boolean>;
        marks?: Record<string, string>;
    }): string[];
    /** Record the mark of a processed event. @param {import("../peatio-client.mjs").PeatioEvent} event */
    seen({ stream, mark }: import("../peatio-client.mjs").PeatioEvent): void;
    /** Forget these streams: the gateway is to stop sending them. @param {string[]} streams */
    drop(streams: string[]): void;
    /** Forget all other streams: a new connection begins with these. @param {string[]} streams */
    keep(streams: string[]): void;
}
