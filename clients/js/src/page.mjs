// What a browser reports about the network and about its page.

/**
 * Watch the network and the page. Does nothing in Node.
 *
 * @param {{ offline: () => void, wake: () => void }} callbacks `offline`: there is no network; `wake`: there is one again,
 *   or the page was in the background, frozen, or on a machine that slept
 * @returns {() => void} stops watching
 */
export function watch({ offline, wake }) {
  const global = /** @type {any} */ (globalThis);
  const page = global.document;
  const visible = () => page.visibilityState === "visible" && wake();
  /** @type {[any, string, () => void][]} */
  const watched = [
    [global, "offline", offline],
    [global, "online", wake],
    [global, "pageshow", wake],
    [page, "resume", wake],
    [page, "visibilitychange", visible],
  ];
  for (const [target, name, listener] of watched) target?.addEventListener?.(name, listener);
  return () => {
    for (const [target, name, listener] of watched) target?.removeEventListener?.(name, listener);
  };
}
