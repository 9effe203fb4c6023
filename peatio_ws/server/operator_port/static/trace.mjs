/** What the traced connections do, live: `GET /api/trace`, one JSON object a line. */

import { $, element, foreign, set, visible } from "./dom.mjs";
import { clock, counted, lasted, size } from "./format.mjs";
import { memberLink } from "./ends.mjs";
import { Failed, LockedOut, send, WrongToken } from "./interface.mjs";

const SHOWN = 500;
const HELD = 5000;

/** @typedef {Record<string, any> & { kind: string, at: string }} Line */

/**
 * The texts of a line, by its kind. An unknown kind shows its fields as they are.
 *
 * @type {Record<string, (line: Line) => (string | number | undefined)[]>}
 */
const TEXTS = {
  connection: (line) => ["open since", time(line.since), line.uid ?? "anonymous", line.address, line.protocol, streams(line.streams), waiting(line)],
  opened: (line) => [line.uid ?? "anonymous", line.address, line.protocol],
  authenticated: (line) => [line.uid],
  refused: (line) => [line.what, line.status, line.reason, line.address],
  received: (line) => [line.what, size(line.bytes)],
  subscribed: (line) => [streams(line.streams), `${line.total} in all`],
  unsubscribed: (line) => ["left:", streams(line.streams)],
  delivered: (line) => [line.stream, size(line.bytes), line.replayed ? "missed event" : "", waiting(line), line.cursor ? `cursor ${line.cursor}` : ""],
  sent: (line) => [line.what, size(line.bytes), waiting(line)],
  resumed: (line) => [line.complete ? "complete" : "events may be missing", `cursor ${line.cursor}`],
  ping: (line) => [`by the ${line.by}`],
  pong: (line) => [`by the ${line.by}`, line.milliseconds === undefined ? "" : `after ${Math.round(line.milliseconds)} ms`],
  waiting: (line) => [size(line.waiting)],
  closed: (line) => [line.code, line.reason, line.by === "nobody" ? "connection lost" : `by the ${line.by}`, `after ${lasted(line.seconds)}`, `${size(line.bytes_sent)} sent`],
  omitted: (line) => [line.lines ? `${line.lines} lines left out: too many at once` : "", line.connections ? `${line.connections} connections not traced: over the limit of a worker` : ""],
  worker: (line) => [`${line.gateway}, worker ${line.worker}`, line.status],
};
/** Kinds in the colour of a fault, and of a success. */
const BAD = new Set(["refused", "closed", "omitted"]);
const GOOD = new Set(["opened", "authenticated", "connection"]);

/** With milliseconds. @param {string} at */
const time = (at) => `${clock(at)}.${String(new Date(at).getMilliseconds()).padStart(3, "0")}`;
/** @param {string[]} names */
const streams = (names = []) => (names.length ? names.join(" ") : "no streams");
/** @param {Line} line */
const waiting = (line) => (line.waiting ? `${size(line.waiting)} waiting` : "");

export class TraceView {
  /** @type {AbortController | null} */
  #running = null;
  /** Lines that arrived while the list was paused. @type {Line[]} */
  #held = [];
  #count = 0;
  #onRefused;

  /** @param {(error: unknown) => void} onRefused takes a refused token */
  constructor(onRefused) {
    this.#onRefused = onRefused;
    $("tracing").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      if (this.#running) this.stop();
      else this.#run();
    });
    $("pause").addEventListener("click", () => this.#pause($("pause").getAttribute("aria-pressed") !== "true"));
    $("clear").addEventListener("click", () => {
      this.#held = [];
      this.#count = 0;
      $("lines").replaceChildren();
      this.#countLines();
    });
  }

  /** Start to trace. @param {string} kind `uid`, `address` or `connection` @param {string} name */
  start(kind, name) {
    const isSame = $("tracing").elements.kind.value === kind && $("traced").value === name;
    if (this.#running && isSame) return;
    this.stop();
    $("tracing").elements.kind.value = kind;
    $("traced").value = name;
    this.#run();
  }

  stop() {
    this.#running?.abort();
  }

  async #run() {
    const running = (this.#running = new AbortController());
    const { kind, seconds, bodies } = $("tracing").elements;
    const query = new URLSearchParams({ [kind.value]: $("traced").value.trim(), seconds: seconds.value, bodies: String(bodies.checked) });
    set($("trace-button"), "Stop");
    this.#tell("Starting…", true);
    this.#pause(false);
    try {
      const answer = await send(`trace?${query}`, "GET", undefined, running.signal);
      await this.#read(answer, running.signal);
    } catch (error) {
      if (running.signal.aborted) this.#tell("Stopped.");
      else if (error instanceof WrongToken || error instanceof LockedOut) this.#onRefused(error);
      else this.#tell(error instanceof Failed ? error.message : "The connection to the gateway broke. Start again.");
    } finally {
      if (this.#running === running) this.#running = null;
      if (!this.#running) set($("trace-button"), "Trace");
    }
  }

  /** @param {Response} answer @param {AbortSignal} signal */
  async #read(answer, signal) {
    const reader = /** @type {ReadableStream<Uint8Array>} */ (answer.body).getReader();
    const decoder = new TextDecoder();
    let rest = "";
    let hasEnded = false;
    for (;;) {
      const { value, done } = await reader.read();
      if (signal.aborted) throw new DOMException("stopped", "AbortError");
      if (done) break;
      const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const text of lines) if (text) hasEnded = this.#take(JSON.parse(text)) || hasEnded;
    }
    if (!hasEnded) throw new Failed("The connection to the gateway broke. Start again.", 0);
  }

  /** @param {Line} line @returns {boolean} whether it is the last one */
  #take(line) {
    if (line.kind === "alive") return false;
    if (line.kind === "begin") {
      const { workers, gateways, silent } = line.received_by;
      this.#tell(`Traced by ${counted(workers, "worker")} of ${counted(gateways, "gateway")}${silent ? `; ${silent} did not answer` : ""}, for ${lasted(line.seconds)}.`, true);
      return false;
    }
    if (line.kind === "end") {
      this.#tell(`Ended: ${line.text}.${line.omitted ? ` ${counted(line.omitted, "line")} left out.` : ""}`);
      return true;
    }
    this.#count += 1;
    if ($("pause").getAttribute("aria-pressed") === "true") {
      this.#held.push(line);
      if (this.#held.length > HELD) this.#held.shift();
    } else this.#add([line]);
    this.#countLines();
    return false;
  }

  /** @param {Line[]} lines */
  #add(lines) {
    const list = $("lines");
    list.prepend(...lines.slice(-SHOWN).reverse().map(row));
    while (list.children.length > SHOWN) list.lastElementChild.remove();
  }

  /** @param {boolean} isPaused */
  #pause(isPaused) {
    $("pause").setAttribute("aria-pressed", String(isPaused));
    if (!isPaused) this.#add(this.#held.splice(0));
    this.#countLines();
  }

  #countLines() {
    const held = this.#held.length ? ` · ${counted(this.#held.length, "new line")}` : "";
    set($("line-count"), this.#count ? `${counted(this.#count, "line")}${held}` : "");
    $("no-line").hidden = this.#count > 0;
  }

  /** @param {string} text @param {boolean} [isRunning] */
  #tell(text, isRunning = false) {
    set($("trace-state"), visible(text));
    $("view-trace").dataset.running = isRunning ? "yes" : "no";
  }
}

/** @param {Line} line */
function row(line) {
  const node = element("li");
  const head = element("p", "", "head");
  const kind = BAD.has(line.kind) ? "chip bad" : GOOD.has(line.kind) ? "chip done" : "chip";
  head.append(element("time", time(line.at)), foreign("span", line.kind, kind));
  const known = TEXTS[line.kind];
  const texts = known ? known(line).filter((text) => text !== "" && text !== undefined && text !== null).map(String) : others(line);
  const said = element("span", "", "said");
  for (const [number, text] of texts.entries()) said.append(number ? " · " : "", text === line.uid ? memberLink(text) : foreign("span", text));
  head.append(said);
  if (line.connection) head.append(foreign("code", line.connection));
  node.append(head);
  if (line.body !== undefined) node.append(foreign("pre", `${line.body}${line.cut ? "…" : ""}`));
  return node;
}

/** @param {Line} line of a kind that this page does not know */
function others({ kind, at, gateway, worker, connection, body, cut, ...rest }) {
  return Object.entries(rest).map(([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`);
}
