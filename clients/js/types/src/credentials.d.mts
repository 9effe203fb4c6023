/** When to renew the token that the gateway has. */
export declare class Renewal {
    #private;
    /** Unix time. */
    due: number;
    /** Schedule the renewal of a token that was sent to the gateway. @param {string} token */
    shown(token: string): void;
    /** No fresh token was available: try after half of the remaining time, then at growing intervals. */
    putOff(): void;
    /** Renew after this time. @param {number} seconds */
    again(seconds: number): void;
    /** Stop renewing: the gateway accepts no token. */
    stop(): void;
}
/** The session token of a client, over all its connections. */
export declare class Credentials {
    #private;
    renewal: Renewal;
    /** A token to send again; null to ask the token function. @type {string | null} */
    kept: string | null;
    /** @param {boolean} fixed whether there is only one token */
    constructor(fixed: boolean);
    /** Why no other token would help, or that there is none; empty while one may help. */
    get exhausted(): string;
    /**
     * The token for a new connection.
     *
     * @param {string} token
     * @throws {Refused} the gateway refused it before
     */
    show(token: string): string;
    /** The token to send on the open connection; null if it is not a new one. @param {string} token */
    renew(token: string): string | null;
    /** Schedule the renewal of the token that the connection was opened with, or renewed. */
    connected(): void;
    /** Record that the gateway accepted the token. */
    accept(): void;
    /** Allow the same token again: the gateway has no key for it yet. */
    postpone(): void;
    /**
     * Record that the gateway refused the token.
     *
     * @returns {number} seconds until the same token should be sent again, because the clock of the gateway may be behind;
     *   0 if another one is needed
     */
    refuse(): number;
    /** Record that the gateway refused a token on the open connection, which continues. */
    refuseRenewal(): void;
    /** Require another token: the session of this one has ended. */
    spend(): void;
}
/**
 * The result of a token function.
 *
 * @param {unknown} token
 * @param {string} given where it comes from
 * @returns {string}
 * @throws {TypeError} it is not a token
 */
export declare function checked(token: unknown, given?: string): string;
