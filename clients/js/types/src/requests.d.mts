/** The requests of a connection that wait for an answer. */
export declare class Requests {
    #private;
    get waiting(): boolean;
    /**
     * Send a message, and wait for its answer.
     *
     * @param {(text: string) => void} say
     * @param {() => number} turn the seconds until the message may be sent; with 0, it counts as sent
     * @param {string} event
     * @param {object} fields
     * @param {{ timeout: number, signal?: AbortSignal }} options
     * @returns {Promise<any>}
     */
    ask(say: (text: string) => void, turn: () => number, event: string, fields: object, { timeout, signal }: {
        timeout: number;
        signal?: AbortSignal;
    }): Promise<any>;
    /** Pass a frame to the request that it answers. @param {string} text @returns {boolean} whether it is an answer */
    take(text: string): boolean;
    /** End all requests: the connection ended. */
    lose(): void;
}
