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
    /** Why other tokens would not help; empty as long as they may. */
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
    /** The gateway accepted the token. */
    accept(): void;
    /** The gateway has no key for the token yet: the same one may be sent again. */
    postpone(): void;
    /**
     * The gateway refused the token.
     *
     * @returns {number} seconds until the same token should be sent again, because the clock of the gateway may be behind;
     *   0 if another one is needed
     */
    refuse(): number;
    /** The gateway refused a token on the open connection, which continues. */
    refuseRenewal(): void;
    /** The session of the token ended: another token is needed. */
    spend(): void;
}
/**
 * The result of a token function.
 *
 * @param {unknown} token
 * @returns {string}
 * @throws {TypeError} it is not a token
 */
export declare function checked(token: unknown): string;
