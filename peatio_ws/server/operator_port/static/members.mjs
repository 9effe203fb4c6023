/** Members online: all of them, or one with its connections. */

import * as commands from "./commands.mjs";
import { $, button, element, foreign, Rows, set, visible } from "./dom.mjs";
import { memberLink } from "./ends.mjs";
import { age, clock, counted, moment, size } from "./format.mjs";
import { ask, named } from "./interface.mjs";

/** @typedef {{ uid: string, connections: number, since: string, gateways: string[] }} Member */
/**
 * @typedef {{ uid: string, connection: string, protocol: string, address: string, since: string, waiting_bytes: number,
 *   gateway: string, worker: number, streams: string[] }} Connection
 */
/** @typedef {import("./revocations.mjs").Revocation} Revocation */

const SHOWN = 100;
const STREAMS_SHOWN = 12;

/** The members, or a part of them. */
export class Members {
  /** @type {Member[]} */
  #members = [];
  #anonymous = 0;
  #silent = 0;
  #at = 0;
  #most = SHOWN;
  #rows = new Rows($("members"), (/** @type {Member} */ { uid }) => uid, () => memberRow());

  constructor() {
    $("uid").addEventListener("input", () => {
      this.#most = SHOWN;
      this.#show();
    });
    $("search").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      const uid = $("uid").value.trim();
      if (uid) location.hash = `#member/${named(uid)}`;
    });
    $("more-members").addEventListener("click", () => {
      this.#most += 5 * SHOWN;
      this.#show();
    });
  }

  /** Read the members. All workers list their connections for it, so it is not repeated by itself. */
  async load() {
    set($("members-count"), "Reading the members…");
    try {
      const answer = await ask("members");
      this.#members = answer.members;
      this.#anonymous = answer.anonymous;
      this.#silent = answer.received_by.silent;
      this.#at = Date.now(); // by the clock of the browser, which the operator sees
      this.#show();
    } catch (error) {
      set($("members-count"), error instanceof Error ? error.message : String(error));
      throw error;
    }
  }

  #show() {
    if (!this.#at) return;
    const part = $("uid").value.trim().toLowerCase();
    const found = part ? this.#members.filter(({ uid }) => uid.toLowerCase().includes(part)) : this.#members;
    const shown = found.slice(0, this.#most);
    this.#rows.show(shown);
    const connections = found.reduce((sum, one) => sum + one.connections, 0);
    const silent = this.#silent ? ` ${counted(this.#silent, "worker")} did not answer: their members are missing.` : "";
    const some = part ? `${counted(found.length, "member")} of ${counted(this.#members.length, "member")} match` : `${counted(found.length, "member")} with ${counted(connections, "connection")}; ${counted(this.#anonymous, "anonymous connection")}`;
    set($("members-count"), `${some}. As of ${clock(this.#at)}.${silent}`);
    $("members-table").hidden = !found.length;
    $("no-member").hidden = found.length > 0;
    set($("no-member"), part ? "No member online has this in its uid. Open shows a member who is not online, too." : "No member is online.");
    $("more-members").hidden = found.length <= shown.length;
    set($("more-members"), `Show more: ${counted(found.length - shown.length, "member")} left`);
  }
}

function memberRow() {
  const node = element("tr");
  const name = element("th");
  name.setAttribute("scope", "row");
  const [connections, since, gateways] = [element("td"), element("td"), element("td", "", "wide foreign")];
  node.append(name, connections, since, gateways);
  /** @param {Member} member */
  const show = (member) => {
    if (!name.firstChild) name.append(memberLink(member.uid));
    name.title = visible(member.uid);
    set(connections, String(member.connections));
    set(since, moment(member.since));
    set(gateways, member.gateways.map(visible).join(", "));
  };
  return { node, show };
}

/** One member, read again and again while it is shown. */
export class MemberView {
  #uid = "";
  #open = 0;
  #rows = new Rows($("connections"), (/** @type {Connection} */ { connection }) => connection, (one) => this.#connectionCard(one));
  #revocations = new Rows($("member-revocations"), (/** @type {Revocation} */ { jti, until }) => `${jti} ${until}`, revocationLine);

  constructor() {
    $("member-actions").append(
      button("Disconnect…", () => commands.disconnectMember(this.#uid, this.#open), "small danger"),
      button("Revoke tokens…", () => commands.revokeTokens(this.#uid), "small danger"),
      button("Send a notice…", () => commands.sendNotice(this.#uid)),
      button("Trace", () => (location.hash = `#trace/uid/${named(this.#uid)}`)),
    );
  }

  /** @param {string} uid */
  open(uid) {
    if (uid !== this.#uid) {
      this.#rows.show([]);
      this.#revocations.show([]);
      set($("member-count"), "Reading the connections…");
    }
    this.#uid = uid;
    const title = $("member-title");
    title.replaceChildren(foreign("span", uid, "uid"));
    $("member-actions").firstElementChild.disabled = true;
    return this.load();
  }

  async load() {
    const uid = this.#uid;
    try {
      const [answer, { revocations }] = await Promise.all([ask(`members/${named(uid)}`), ask("revocations")]);
      if (uid !== this.#uid) return;
      /** @type {Connection[]} */
      const connections = answer.connections;
      this.#open = connections.length;
      $("member-actions").firstElementChild.disabled = !this.#open;
      this.#rows.show(connections);
      this.#revocations.show(revocations.filter((/** @type {Revocation} */ one) => one.uid === uid));
      const silent = answer.received_by.silent ? ` ${counted(answer.received_by.silent, "worker")} did not answer: more connections may be open.` : "";
      set($("member-count"), (this.#open ? `${counted(this.#open, "connection")}.` : "Not online.") + silent);
    } catch (error) {
      if (uid === this.#uid) set($("member-count"), error instanceof Error ? error.message : String(error));
      throw error;
    }
  }

  /** @param {Connection} one */
  #connectionCard(one) {
    const node = element("li", "", "card connection");
    const head = element("p", "", "head");
    head.append(element("span", one.protocol, "chip"), foreign("b", one.address), element("code", one.connection));
    const facts = element("dl");
    /** @param {string} name @param {HTMLElement} value */
    const fact = (name, value) => {
      const pair = element("div");
      pair.append(element("dt", name), value);
      facts.append(pair);
      return value;
    };
    const open = fact("Open for", element("dd"));
    const waiting = fact("Waiting", element("dd"));
    fact("Since", element("dd", moment(one.since)));
    fact("Where", foreign("dd", `${one.gateway}, worker ${one.worker}`)).parentElement?.classList.add("long");
    const streams = element("div", "", "streams");
    const actions = element("div", "", "actions");
    actions.append(
      button("Disconnect…", () => commands.disconnectConnection(one.connection, one.uid), "small danger"),
      button("Trace", () => (location.hash = `#trace/connection/${named(one.connection)}`)),
    );
    node.append(head, facts, streams, actions);
    let shown = "";
    /** @param {Connection} now */
    const show = (now) => {
      set(open, age(now.since));
      set(waiting, size(now.waiting_bytes));
      waiting.className = now.waiting_bytes ? "high" : "";
      if (shown === now.streams.join("\n") && streams.firstChild) return;
      shown = now.streams.join("\n");
      showStreams(streams, now.streams);
    };
    return { node, show };
  }
}

/** @param {Element} parent @param {string[]} streams */
function showStreams(parent, streams) {
  const chips = streams.map((stream) => foreign("span", stream, "chip"));
  const label = element("span", streams.length ? `${counted(streams.length, "stream")}:` : "No streams.", "soft");
  if (chips.length <= STREAMS_SHOWN) return parent.replaceChildren(label, ...chips);
  const rest = element("details");
  rest.append(element("summary", `${chips.length - STREAMS_SHOWN} more`), ...chips.slice(STREAMS_SHOWN));
  parent.replaceChildren(label, ...chips.slice(0, STREAMS_SHOWN), rest);
}

/** @param {Revocation} one */
function revocationLine(one) {
  const node = element("li", "", "missing");
  const text = element("span", one.jti === null ? `All tokens issued until ${moment(one.issued_until ?? "")} are revoked. ` : "Revoked token: ");
  node.append(text);
  if (one.jti !== null) node.append(foreign("code", one.jti), " ");
  node.append(button("Undo…", () => commands.undoRevocation(one)));
  return { node, show: () => {} };
}
