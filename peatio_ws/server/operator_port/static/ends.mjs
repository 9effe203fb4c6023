/** Closed connections and refusals, as rows. */

import { $, element, foreign, link, Rows, visible } from "./dom.mjs";
import { lasted, moment } from "./format.mjs";
import { named } from "./interface.mjs";

/** @typedef {import("./fleet.mjs").Close} Close */
/** @typedef {import("./fleet.mjs").Refusal} Refusal */

/** What a close code means to an operator. @type {Record<number, string>} */
const CODES = {
  1000: "normal end",
  1001: "went away",
  1002: "protocol error",
  1003: "binary message",
  1005: "no code",
  1006: "connection lost",
  1007: "not UTF-8",
  1008: "policy: too many failures or messages",
  1009: "message too big",
  1011: "error in the gateway or a handler",
  1012: "restart or drain",
  1013: "full, or over a limit",
  4401: "token expired",
  4403: "revoked or disconnected",
  4408: "no sign of life",
  4413: "too slow",
};
/** Codes of the gateway that an operator should look into. */
const BAD = new Set([1011, 1013, 4413]);
const BY = { client: "by the client", gateway: "by the gateway", nobody: "lost" };
const SHOWN_IN_OVERVIEW = 6;

/** @param {{ gateway: string, worker: number, connection: string }} one */
const place = ({ gateway, worker, connection }) => [element("span", `${gateway}, worker ${worker}`), element("code", connection)];

/** @param {Close} one */
function closeRow(one) {
  const node = element("li");
  const head = element("p", "", "head");
  const { code, by, reason } = one;
  head.append(element("time", moment(one.at)), element("span", String(code), by === "gateway" && BAD.has(code) ? "chip bad" : "chip"));
  const meaning = CODES[code] ?? "";
  if (by === "gateway" && reason.startsWith(meaning)) head.append(foreign("b", reason));
  else head.append(element("b", meaning), foreign("span", reason, "reason"));
  const more = element("p", "", "more");
  more.append(one.uid === null ? element("span", "anonymous") : memberLink(one.uid));
  more.append(foreign("span", one.address), element("span", one.protocol), element("span", `open for ${lasted(one.seconds)}`), element("span", BY[by]), ...place(one));
  node.append(head, more);
  return { node, show: () => {} };
}

/** @param {Refusal} one */
function refusalRow(one) {
  const node = element("li");
  const head = element("p", "", "head");
  const status = one.status === null ? "token" : String(one.status);
  head.append(element("time", moment(one.at)), element("span", status, (one.status ?? 0) >= 500 ? "chip bad" : "chip"), foreign("b", one.reason));
  const more = element("p", "", "more");
  more.append(foreign("span", one.address), element("span", one.status === null ? "in a message" : "answer to the handshake"), ...place(one));
  node.append(head, more);
  return { node, show: () => {} };
}

/** @param {string} uid @param {string} [text] */
export function memberLink(uid, text = uid) {
  const made = link("", `#member/${named(uid)}`);
  made.append(foreign("span", text, "uid"));
  made.title = visible(uid);
  return made;
}

/** @param {Close | Refusal} one */
const key = (one) => `${one.at} ${one.gateway} ${one.worker} ${one.connection} ${"code" in one}`;

export class Ends {
  #ends = /** @type {{ closes: Close[], refusals: Refusal[] }} */ ({ closes: [], refusals: [] });
  #closes = new Rows($("closes"), key, closeRow);
  #refusals = new Rows($("refusals"), key, refusalRow);
  #lastCloses = new Rows($("last-closes"), key, closeRow);
  #lastRefusals = new Rows($("last-refusals"), key, refusalRow);

  constructor() {
    $("filter-closes").addEventListener("input", () => this.#show());
    $("filter-closes").addEventListener("submit", (/** @type {Event} */ event) => event.preventDefault());
  }

  /** @param {{ closes: Close[], refusals: Refusal[] }} ends newest first */
  take(ends) {
    this.#ends = ends;
    this.#show();
  }

  #show() {
    const { closes, refusals } = this.#ends;
    const byGateway = closes.filter(({ by }) => by === "gateway");
    this.#lastCloses.show(byGateway.slice(0, SHOWN_IN_OVERVIEW));
    this.#lastRefusals.show(refusals.slice(0, SHOWN_IN_OVERVIEW));
    $("no-last-close").hidden = byGateway.length > 0;
    $("no-last-refusal").hidden = refusals.length > 0;
    const { by, words } = $("filter-closes").elements;
    const wanted = words.value.toLowerCase().split(/\s+/);
    /** @param {Close | Refusal} one */
    const hasWords = (one) => {
      const text = Object.values(one).join(" ").toLowerCase() + ("code" in one ? ` ${CODES[one.code] ?? ""}` : "");
      return wanted.every((/** @type {string} */ word) => text.includes(word));
    };
    const side = (/** @type {Close} */ one) => !by.value || (by.value === "gateway") === (one.by === "gateway");
    const shown = closes.filter((one) => side(one) && hasWords(one));
    const refused = refusals.filter(hasWords);
    this.#closes.show(shown);
    this.#refusals.show(refused);
    $("no-close").hidden = shown.length > 0;
    $("no-refusal").hidden = refused.length > 0;
    const isFiltered = words.value.trim() !== "";
    $("no-close").textContent = isFiltered ? "None with these words." : by.value === "gateway" ? "The gateway has closed no connection." : "None.";
    $("no-refusal").textContent = isFiltered ? "None with these words." : "None.";
  }
}
