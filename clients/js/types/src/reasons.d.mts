/**
 * Why a connection could not be opened. Browsers give no reason.
 *
 * @param {string} address
 * @param {{ error?: any, message?: string }} event the socket's "error" event
 * @param {boolean} [byProxy] whether a proxy authenticates the client
 */
export declare function notOpened(address: string, { error, message }: {
    error?: any;
    message?: string;
}, byProxy?: boolean): string;
/**
 * The reason for an HTTP answer in place of an upgrade.
 *
 * @param {number} status
 * @param {string} text the answer, if it is plain text
 * @param {string | undefined} origin
 */
export declare function http(status: number, text: string, origin: string | undefined): string;
