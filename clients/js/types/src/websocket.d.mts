export type Connecting = {
    /**
     * an implementation; undefined for `ws` in Node, and the browser's
     */
    WebSocket: any;
    headers?: Record<string, string>;
    agent?: any;
    tls?: Record<string, unknown>;
};
/**
 * What to connect with.
 *
 * @typedef {object} Connecting
 * @property {any} WebSocket an implementation; undefined for `ws` in Node, and the browser's
 * @property {Record<string, string>} [headers]
 * @property {any} [agent]
 * @property {Record<string, unknown>} [tls]
 */
/** Whether these options were given, which pages cannot use. @param {Connecting} options */
export declare function hasOptions({ headers, agent, tls }: Connecting): boolean;
/** Whether this is Node or a program like it. */
export declare function isNode(): boolean;
/**
 * A function that opens a socket.
 *
 * @param {Connecting} options
 * @returns {Promise<(address: string) => any>}
 */
export declare function connector(options: Connecting): Promise<(address: string) => any>;
