// A gateway for clients that need no connection, and what the tests share.

import { PeatioClient } from "../peatio-client.mjs";

export const URL = "ws://gateway.example/public";

/** The gateway's side of a connection: sends what the test tells it to, and records what it receives. */
export class Gateway {
  static script = [];
  static heard = [];
  readyState = 0;
  #listeners = {};

  constructor(address) {
    this.address = address;
    Gateway.last = this;
    queueMicrotask(() => {
      this.readyState = 1;
      this.tell("open", {});
      for (const frame of Gateway.script) this.tell("message", { data: JSON.stringify(frame) });
    });
  }
  addEventListener(name, listener) {
    this.#listeners[name] = listener;
  }
  tell(name, what) {
    this.#listeners[name]?.(what);
  }
  send(text) {
    Gateway.heard.push(JSON.parse(text));
  }
  close() {}
}

/** A client of this gateway that says these frames. */
export function client(script, options = {}) {
  Gateway.script = script;
  Gateway.heard = [];
  return new PeatioClient(URL, { WebSocket: Gateway, ...options });
}

export const subscribed = { success: { message: "subscribed", streams: [] } };
export const authenticated = { success: { message: "Authenticated." }, resume: { cursor: "c0", complete: true } };

/** A JWT with these times, in seconds from now. */
export function token({ exp = 3600, ...claims } = {}) {
  const at = (seconds) => Date.now() / 1000 + seconds;
  const { iat, ...others } = claims;
  return `e.${btoa(JSON.stringify({ exp: at(exp), ...(iat === undefined ? {} : { iat: at(iat) }), ...others }))}.s`;
}

/** Resolves when this is true. */
export async function until(check) {
  while (!check()) await new Promise((resolve) => setTimeout(resolve, 2));
}
