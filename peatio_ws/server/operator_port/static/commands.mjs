/** What an operator can do, each behind a question that says what it does and what cannot be undone. */

import { confirmed, reached, tell } from "./dialogs.mjs";
import { visible } from "./dom.mjs";
import { counted } from "./format.mjs";
import { ask, named } from "./interface.mjs";

/** Called after a command, to show what it changed. @type {{ done: () => unknown }} */
export const after = { done: () => {} };

/** @param {string} text @param {any} answer */
function succeeded(text, answer) {
  tell(`${text} ${reached(answer.received_by)}`);
  after.done();
}

/** @param {string} uid @param {number} open its connections */
export function disconnectMember(uid, open) {
  confirmed({
    title: "Disconnect the member",
    of: uid,
    lines: [`Closes ${open === 1 ? "its connection" : `all its ${counted(open, "connection")}`} now (4403). The member can connect again with the same token.`],
    final: "This cannot be undone.",
    fields: [{ name: "revoke", label: "Also revoke all tokens issued to the member until now", kind: "check", hint: "The member has to log in again. Lock the account first, or they log in at once. A revocation can be undone." }],
    action: "Disconnect",
    run: async ({ revoke }) => {
      const answer = await ask(`members/${named(uid)}/disconnect`, "POST", { revoke: revoke !== "" });
      succeeded(`${counted(answer.closed, "connection")} of ${visible(uid)} closed${answer.revoked ? ", and its tokens revoked" : ""}.`, answer);
    },
  });
}

/** @param {string} uid */
export function revokeTokens(uid) {
  confirmed({
    title: "Revoke tokens",
    of: uid,
    lines: ["Refuses all tokens issued to the member until now for 30 days, and closes its connections. Tokens issued later are valid: lock the account first."],
    final: "Closed connections cannot be undone; the revocation can.",
    fields: [{ name: "jti", label: "Only the token with this id (jti), if you fill it in" }],
    action: "Revoke",
    run: async ({ jti }) => {
      const answer = await ask(`members/${named(uid)}/disconnect`, "POST", { revoke: true, jti: jti || null });
      succeeded(`${jti ? `Token ${visible(jti)}` : "All tokens until now"} of ${visible(uid)} revoked; ${counted(answer.closed, "connection")} closed.`, answer);
    },
  });
}

/** @param {{ uid: string, jti: string | null }} revocation */
export function undoRevocation({ uid, jti }) {
  confirmed({
    title: "Undo the revocation",
    of: jti === null ? uid : `${jti} of ${uid}`,
    lines: [jti === null ? "Accepts all tokens of the member again that have not expired. Tokens that were revoked one by one stay revoked." : "Accepts the token again, until it expires."],
    action: "Undo the revocation",
    run: async () => {
      const answer = await ask(`revocations/${named(jti ?? uid)}`, "DELETE");
      succeeded(`The revocation of ${visible(jti ?? uid)} is undone.`, answer);
    },
  });
}

/** @param {string} connection its id @param {string} uid */
export function disconnectConnection(connection, uid) {
  confirmed({
    title: `Disconnect connection ${connection}`,
    of: uid,
    lines: ["Closes this connection now (4403). The member can connect again with the same token."],
    final: "This cannot be undone.",
    action: "Disconnect",
    run: async () => {
      const answer = await ask(`connections/${named(connection)}/disconnect`, "POST");
      succeeded(answer.closed ? `Connection ${connection} closed.` : `Connection ${connection} had ended already.`, answer);
    },
  });
}

/** @param {string} [uid] of a member; all clients by default */
export function sendNotice(uid) {
  confirmed({
    title: uid === undefined ? "Send a notice to all clients" : "Send a notice to the member",
    of: uid,
    lines: ["Clients that asked for notices receive this text at once."],
    final: "A notice cannot be taken back.",
    fields: [{ name: "text", label: "Text", kind: "area", required: true, most: 4096 }],
    action: "Send",
    run: async ({ text }) => {
      const answer = await ask("notices", "POST", { text, uid: uid ?? null });
      succeeded(`Notice sent to ${counted(answer.sent, "connection")}.`, answer);
    },
  });
}

/** @param {string} gateway @param {number} connections @param {number} others ready gateways */
export function drainGateway(gateway, connections, others) {
  const left = others ? `${counted(others, "other gateway")} ${others === 1 ? "is" : "are"} ready.` : "No other gateway is ready: clients cannot connect until you undo this.";
  confirmed({
    title: "Drain the gateway",
    of: gateway,
    lines: [`It refuses new connections, and closes ${connections === 1 ? "its connection" : `its ${counted(connections, "connection")}`} with 1012: clients come back, to other gateways. ${left}`, "Its processes do not exit."],
    final: "Closed connections cannot be undone; the drain can.",
    action: "Drain",
    run: async () => {
      const answer = await ask("drain", "POST", { host: gateway });
      succeeded(`${visible(gateway)} drains: ${counted(answer.connections, "connection")}.`, answer);
    },
  });
}

/** @param {string} gateway */
export function undoDrain(gateway) {
  confirmed({
    title: "Accept clients again",
    of: gateway,
    lines: ["Ends the drain: the gateway accepts clients again."],
    action: "Undo the drain",
    isHarmless: true,
    run: async () => {
      const answer = await ask("drain", "POST", { host: gateway, undo: true });
      succeeded(`${visible(gateway)} accepts clients again.`, answer);
    },
  });
}

/** @param {number} gateways @param {number} connections */
export function drainAll(gateways, connections) {
  confirmed({
    title: "Drain all gateways",
    lines: [`All ${counted(gateways, "gateway")} refuse new connections and close ${counted(connections, "connection")}. No client can connect until you undo this.`],
    final: "Closed connections cannot be undone; the drain can.",
    fields: [{ name: "sure", label: "Type drain all to confirm", required: true, mustBe: "drain all" }],
    action: "Drain all gateways",
    run: async () => {
      const answer = await ask("drain", "POST", { all: true });
      succeeded(`All gateways drain: ${counted(answer.connections, "connection")}.`, answer);
    },
  });
}
