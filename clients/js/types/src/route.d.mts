export declare class Route {
    #private;
    /** The address without streams. @type {string} */
    url: string;
    /** All requested streams. @type {string[]} */
    streams: string[];
    /**
     * @param {string} url
     * @param {string[]} streams
     * @param {boolean} authenticated whether the connection belongs to a member: by a token, or by the proxy
     * @throws {TypeError} the arguments contradict each other
     */
    constructor(url: string, streams: string[], authenticated: boolean);
    /** @param {string[]} streams @throws {TypeError} the client cannot subscribe to one of them */
    check(streams: string[]): void;
}
