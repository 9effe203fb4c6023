// The WebSocket of this platform, and its options.

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
export function hasOptions({ headers, agent, tls }) {
  return headers !== undefined || agent !== undefined || tls !== undefined;
}

/** Whether this is Node or a program like it. */
export function isNode() {
  return Boolean(/** @type {any} */ (globalThis).process?.versions?.node);
}

/**
 * A function that opens a socket.
 *
 * @param {Connecting} options
 * @returns {Promise<(address: string) => any>}
 */
export async function connector(options) {
  const { WebSocket = await implementation(hasOptions(options)), headers, agent, tls } = options;
  if (!hasOptions(options)) return (address) => new WebSocket(address);
  return (address) => new WebSocket(address, [], { ...tls, headers, agent });
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
