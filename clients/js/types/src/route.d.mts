export declare class Route {
    #private;
    /** The address without streams. @type {string} */
    url: string;
    /** All requested streams, without those of books. @type {string[]} */
    streams: string[];
    /** Markets whose books the client maintains from the start. @type {readonly string[]} */
    books: readonly string[];
    /**
     * @param {string} url
     * @param {readonly string[]} streams
     * @param {boolean} authenticated whether the connection belongs to a member: by a token, or by the proxy
     * @param {readonly string[]} books
     * @throws {TypeError} the arguments contradict each other
     */
    constructor(url: string, streams: readonly string[], authenticated: boolean, books: readonly string[]);
    /** @param {string[]} streams @throws {TypeError} the client cannot subscribe to one of them */
    check(streams: string[]): void;
}
