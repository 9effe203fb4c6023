export type Headers = Record<string, string>;
export type Connecting = {
    /**
     * an implementation; undefined for `ws` in Node, and the browser's
     */
    WebSocket: any;
    headers?: Headers | (() => Headers | Promise<Headers>);
    agent?: any;
    tls?: Record<string, unknown>;
};
/** @typedef {Record<string, string>} Headers additional headers of the handshake */
/**
 * The options of a connection.
 *
 * @typedef {object} Connecting
 * @property {any} WebSocket an implementation; undefined for `ws` in Node, and the browser's
 * @property {Headers | (() => Headers | Promise<Headers>)} [headers]
 * @property {any} [agent]
 * @property {Record<string, unknown>} [tls]
 */
/** Return whether there are options that pages cannot use. @param {Connecting} options */
export declare function hasOptions({ headers, agent, tls }: Connecting): boolean;
/** Whether this is Node or a program like it. */
export declare function isNode(): boolean;
/**
 * A function that opens a socket with these headers.
 *
 * @param {Connecting} options
 * @returns {Promise<(address: string, headers?: Headers) => any>}
 */
export declare function connector(options: Connecting): Promise<(address: string, headers?: Headers) => any>;
/** Return the headers. @param {Headers | undefined} headers @throws {TypeError} the client itself sends one of them */
export declare function checkHeaders(headers: Headers | undefined): Headers;
