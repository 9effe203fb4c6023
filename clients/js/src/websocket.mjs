// The WebSocket of this platform, and its options.

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
export function hasOptions({ headers, agent, tls }) {
  return headers !== undefined || agent !== undefined || tls !== undefined;
}

/** Whether this is Node or a program like it. */
export function isNode() {
  return Boolean(/** @type {any} */ (globalThis).process?.versions?.node);
}

/**
 * A function that opens a socket with these headers.
 *
 * @param {Connecting} options
 * @returns {Promise<(address: string, headers?: Headers) => any>}
 */
export async function connector(options) {
  const { WebSocket = await implementation(hasOptions(options)), agent, tls } = options;
  if (!hasOptions(options)) return (address) => new WebSocket(address);
  return (address, headers) => new WebSocket(address, [], { ...tls, headers, agent });
}

/** Return the headers. @param {Headers | undefined} headers @throws {TypeError} the client itself sends one of them */
export function checkHeaders(headers) {
  if (Object.keys(headers ?? {}).some((name) => name.toLowerCase() === "authorization"))
    throw new TypeError("pass the token with the option token, not in the header Authorization");
  return headers ?? {};
}

/**
 * In Node the WebSocket of `ws`, which reports HTTP statuses and can stop reading. Bundlers must not resolve it.
 *
 * @param {boolean} needsOptions whether only `ws` will do
 */
async function implementation(needsOptions) {
  const page = globalThis.WebSocket;
  if (!isNode()) return page;
  try {
    // @ts-ignore it may be missing
    return (await import(/* webpackIgnore: true */ /* @vite-ignore */ "ws")).WebSocket;
  } catch (error) {
    if (page && !needsOptions) return page;
    throw error;
  }
}
