/** The revocations in force. */

import * as commands from "./commands.mjs";
import { $, button, element, foreign, Rows, set, visible } from "./dom.mjs";
import { memberLink } from "./ends.mjs";
import { counted, moment } from "./format.mjs";
import { ask } from "./interface.mjs";

/** @typedef {{ uid: string, jti: string | null, issued_until: string | null, until: string }} Revocation */

const SHOWN = 200;

export class Revocations {
  /** @type {Revocation[] | null} */
  #revocations = null;
  #rows = new Rows($("revocations"), (/** @type {Revocation} */ one) => `${one.uid} ${one.jti} ${one.until}`, row);

  constructor() {
    $("revoked").addEventListener("input", () => this.#show());
    $("search-revocations").addEventListener("submit", (/** @type {Event} */ event) => event.preventDefault());
  }

  async load() {
    try {
      this.#revocations = (await ask("revocations")).revocations;
      this.#show();
    } catch (error) {
      $("no-revocation").hidden = false;
      set($("no-revocation"), error instanceof Error ? error.message : String(error));
      throw error;
    }
  }

  #show() {
    if (!this.#revocations) return;
    const part = $("revoked").value.trim().toLowerCase();
    const found = this.#revocations.filter(({ uid, jti }) => `${uid} ${jti ?? ""}`.toLowerCase().includes(part));
    this.#rows.show(found.slice(0, SHOWN));
    $("revocations-table").hidden = !found.length;
    const more = found.length - SHOWN;
    $("no-revocation").hidden = found.length > 0 && more <= 0;
    const none = part ? "None with this text." : "No token is revoked.";
    set($("no-revocation"), found.length ? `${counted(more, "revocation")} more: filter to find one.` : none);
  }
}

/** @param {Revocation} one */
function row(one) {
  const node = element("tr");
  const name = element("th");
  name.setAttribute("scope", "row");
  name.append(memberLink(one.uid));
  name.title = visible(one.uid);
  const what = element("td", one.jti === null ? `all issued until ${moment(one.issued_until ?? "")}` : "");
  if (one.jti !== null) what.append(foreign("code", one.jti));
  const act = element("td");
  const undo = button("Undo…", () => commands.undoRevocation(one));
  undo.setAttribute("aria-label", `Undo the revocation of ${visible(one.jti ?? one.uid)}`);
  act.append(undo);
  node.append(name, what, element("td", moment(one.until), "wide"), act);
  return { node, show: () => {} };
}
