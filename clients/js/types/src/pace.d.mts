/** The message rate: the gateway closes a connection (1008) that sends too many messages. */
export declare class Pace {
    #private;
    /** Start with a full allowance on a new connection. @param {number} at */
    connected(at: number): void;
    /** Halve the rate and the size of messages: the gateway found the client too fast. */
    slowDown(): void;
    /** Seconds until the next message may be sent; with 0, the message counts as sent. @param {number} at */
    wait(at: number): number;
    /** The names, in groups that fit into one message. @param {string[]} names */
    pieces(names: string[]): string[][];
}
