/**
 * Watch the network and the page. Does nothing in Node.
 *
 * @param {{ offline: () => void, wake: () => void }} callbacks `offline`: there is no network; `wake`: there is one again,
 *   or the page was in the background, frozen, or on a machine that slept
 * @returns {() => void} stops watching
 */
export declare function watch({ offline, wake }: {
    offline: () => void;
    wake: () => void;
}): () => void;
