// A trader's client for the classic protocol, for Node 20 and later and for browsers: own orders and trades, a line of
// JSON a frame. Shows how to authenticate after the challenge, and how to come back after a lost connection at a pace
// that a restarting gateway can bear.
//
// In Node, against `make run` (it makes its own tokens, as Barong does; RS256, ES256 or EdDSA):
//
//     (cd examples && npm ci)
//     JWT_PRIVATE_KEY="$(cat .run/private.pem)" MEMBER_ID=1001 node examples/client.mjs [URL [UID]]
//
// URL and UID may come from the environment too; JWT_ALGORITHM, JWT_ISSUER and JWT_AUDIENCE as the gateway has them.
// MEMBER_ID, the number Peatio knows the member by, is for publishers that name nobody by uid, as the simulated one.
//
// In a page, with the token of Barong's session; the gateway has to know the page's origin (API_CORS_ORIGINS):
//
//     import { follow } from "./client.mjs";
//     await follow("wss://exchange.example/", () => token, { onFrame: (text) => console.log(JSON.parse(text)) });

const WAIT = 10_000; // for the challenge and the answer to the token, together
const SILENCE = 60_000; // the gateway pings every 25 s
const STEADY = 60_000; // a connection that held so long starts the pauses anew
const LONGEST_PAUSE = 30_000;
const NO_RETURN = {
  ...Object.fromEntries([1002, 1003, 1007, 1008, 1009].map((code) => [code, "it would happen again"])),
  4401: "the token has expired",
  4403: "an operator has ended the session",
};

/**
 * Prints a member's frames, over as many connections as it takes.
 *
 * @param {string} url
 * @param {() => string | Promise<string>} makeToken asked before each connection
 * @param {object} options
 * @param {(text: string) => void} options.onFrame every frame; text, because JSON.parse would round long numbers
 * @param {(text: string) => void} [options.onNote] what happens to the connection
 * @param {AbortSignal} [options.signal] ends it
 * @param {typeof WebSocket} [options.WebSocket]
 * @returns {Promise<void>} resolves when `signal` aborts, rejects where coming back would not help
 */
export async function follow(url, makeToken, { onFrame, onNote = () => {}, signal, WebSocket = globalThis.WebSocket }) {
  let failures = 0;
  for (;;) {
    const token = await makeToken();
    if (signal?.aborted) return;
    const started = performance.now();
    const { code, reason, refused } = await session(new WebSocket(url), token, onFrame, signal);
    if (signal?.aborted) return;
    if (refused) throw new Error(`the gateway does not take this token: ${refused}`);
    if (code in NO_RETURN) throw new Error(`closed: ${code} ${reason}; ${NO_RETURN[code]}`);
    failures = performance.now() - started > STEADY ? 0 : failures + 1;
    // A restart (1012) gives each client a time to return; jitter spreads those who were given the same, or none.
    const asked = Number(/retry after (\d+)/.exec(reason)?.[1] ?? 0) * 1000;
    const pause = asked + (0.5 + Math.random() / 2) * Math.min(LONGEST_PAUSE, 1000 * 2 ** failures);
    onNote(`closed: ${code} ${reason}; back in ${(pause / 1000).toFixed(1)} s`);
    await sleep(pause, signal);
  }
}

/** One connection; resolves when it has ended. */
function session(socket, token, onFrame, signal) {
  return new Promise((resolve) => {
    let state = "connecting";
    let refused, timer;
    let failure = "";
    const hangUp = () => socket.close(1000);
    const end = (code, reason) => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", hangUp);
      resolve({ code, reason: reason || failure, refused });
    };
    const within = (milliseconds, otherwise) => {
      clearTimeout(timer);
      timer = setTimeout(otherwise, milliseconds);
    };
    const alive = () => within(SILENCE, () => socket.terminate());
    within(WAIT, () => {
      failure = "no challenge or no answer to the token in time";
      hangUp();
    });
    signal?.addEventListener("abort", hangUp);

    socket.addEventListener("message", ({ data }) => {
      onFrame(data);
      if (state === "member") return;
      const frame = JSON.parse(data);
      if (state === "connecting" && frame.challenge) {
        socket.send(JSON.stringify({ jwt: `Bearer ${token}` }));
        state = "asked";
      } else if (state === "asked" && frame.success) {
        state = "member";
        clearTimeout(timer);
        // A dead connection brings not even pings. Only `ws` shows them; elsewhere it takes until TCP gives up.
        if (socket.on) {
          socket.on("ping", alive);
          alive();
        }
      } else if (frame.error) {
        refused = frame.error.message;
        hangUp();
      }
    });
    socket.addEventListener("error", ({ message }) => {
      failure = message ?? failure; // a browser does not tell
      // Node 22 tells of a connection that failed by this event alone (undici 6, nodejs/undici#3546).
      if (state === "connecting") end(1006, "");
    });
    socket.addEventListener("close", ({ code, reason }) => end(code, reason));
  });
}

function sleep(milliseconds, signal) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    signal?.addEventListener("abort", end);
  });
}

// ---- from here on Node only, and only where this file is the program

async function main() {
  const { randomUUID, sign } = await import("node:crypto");
  const { env } = process;
  const url = process.argv[2] ?? env.URL ?? "ws://127.0.0.1:8080/";
  const uid = process.argv[3] ?? env.UID ?? "IDDEMO000001";

  const algorithm = env.JWT_ALGORITHM ?? "RS256";
  const text = env.JWT_PRIVATE_KEY ?? "";
  const key = text.includes("-----BEGIN") ? text : Buffer.from(text, "base64").toString(); // either alphabet
  const signed = {
    RS256: (data) => sign("sha256", data, key),
    ES256: (data) => sign("sha256", data, { key, dsaEncoding: "ieee-p1363" }), // RFC 7518 section 3.4
    EdDSA: (data) => sign(null, data, key),
  }[algorithm];
  const packed = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

  function makeToken() {
    if (!text) throw new Error("JWT_PRIVATE_KEY is not set");
    if (!signed) throw new Error(`JWT_ALGORITHM=${algorithm}: this sample signs with RS256, ES256 and EdDSA`);
    const now = Math.floor(Date.now() / 1000);
    const claims = {
      iat: now,
      exp: now + 3600,
      jti: randomUUID(),
      sub: "session",
      iss: env.JWT_ISSUER ?? "barong",
      aud: (env.JWT_AUDIENCE ?? "peatio,barong").split(","),
      uid,
      role: "member",
      state: "active",
      ...(env.MEMBER_ID && { member_id: Number(env.MEMBER_ID) }),
    };
    const data = `${packed({ alg: algorithm, typ: "JWT" })}.${packed(claims)}`;
    return `${data}.${signed(Buffer.from(data)).toString("base64url")}`;
  }

  const end = new AbortController();
  process.once("SIGINT", () => end.abort());
  try {
    await follow(url, makeToken, {
      onFrame: (frame) => console.log(frame),
      onNote: (note) => console.error(note),
      signal: end.signal,
      WebSocket: globalThis.WebSocket ?? (await import("ws")).WebSocket,
    });
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}

if (globalThis.process?.versions?.node && process.argv[1]) {
  const { realpathSync } = await import("node:fs");
  const { pathToFileURL } = await import("node:url");
  if (pathToFileURL(realpathSync(process.argv[1])).href === import.meta.url) await main();
}
