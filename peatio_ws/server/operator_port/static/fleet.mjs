/**
 * What the gateways report, over time: rates from their counters, and what is wrong, with what to do.
 *
 * Knows nothing of the page. The thresholds are those of the alert rules (`deploy/prometheus-rules.yaml`), where these have one.
 */

/**
 * @typedef {{ worker: number, version: string, since: string, connections: number, max_connections: number, members: number,
 *   ready: boolean, problems: string[], lag_seconds: number, loop_delay_seconds: number, behind_seconds: number, cpu: number,
 *   memory_bytes: number, waiting_bytes: number, slow_clients: number, deliveries: number, frames: number,
 *   redis: boolean | null }} Worker
 * @typedef {{ gateway: string, host: string, workers: Worker[] }} Gateway
 * @typedef {{ gateways: Gateway[], received_by?: { workers: number, gateways: number, silent: number } }} Report
 * @typedef {{ at: number, connections: number, members: number, deliveries: number, frames: number, delay: number,
 *   waiting: number }} Sample
 * @typedef {"now" | "day" | "note"} Level what clients notice; what can wait until morning; what is good to know
 * @typedef {{ key: string, level: Level, what: string, where: string[], remedy: string, drained?: string[], gone?: boolean }} Problem
 * @typedef {{ at: string, connection: string, reason: string, address: string, gateway: string, worker: number, code: number,
 *   by: "client" | "gateway" | "nobody", protocol: string, uid: string | null, seconds: number }} Close
 * @typedef {{ at: string, connection: string, reason: string, address: string, gateway: string, worker: number,
 *   status: number | null }} Refusal
 */

export const KEPT = 5 * 60_000; // ms
const ABSENT_AFTER = 10_000; // ms: without an answer, where workers answer for themselves
const QUIET = 60_000; // ms without a message of the broker
const FULL = 0.8;
const BUSY = 0.8;
const DELAY = 0.25; // s
const LAG = 5; // s
const WAITING = 1e8; // bytes, of a gateway
const LEVELS = { now: 0, day: 1, note: 2 };

/** @type {[beginning: string, level: Level, remedy: string][]} */
const REMEDIES = [
  ["not connected to the broker", "now", "Its clients receive nothing. See whether RabbitMQ runs and can be reached from that host; `peatio-ws check` there says what fails."],
  ["history is being read back", "note", "The worker started or reconnected a moment ago. If this stays for a minute, RabbitMQ is slow: see its load."],
  ["no key to verify tokens", "now", "Members cannot log in. See whether the key set (JWT_JWKS_URL) can be read from that host."],
  ["draining", "day", "It refuses clients. Undo the drain, or end the process (TERM) if it should go."],
];

/** @param {string} gateway @param {number} worker */
const keyOf = (gateway, worker) => `${gateway} ${worker}`;

export class Fleet {
  /** @type {Gateway[]} */
  gateways = [];
  /** @type {Sample[]} */
  samples = [];
  /** Workers that did not answer the last command. */
  silent = 0;
  /** Why the rest of the gateways is not in the report; empty if it is complete. */
  missing = "";
  /** @type {{ closes: Close[], refusals: Refusal[] }} */
  ends = { closes: [], refusals: [] };
  /** The last counters of each worker. @type {Map<string, { at: number, deliveries: number, frames: number }>} */
  #counters = new Map();
  /** When each worker was there for the last time. @type {Map<string, { gateway: string, worker: number, at: number }>} */
  #seen = new Map();
  /** CPU of each worker in the last minute. @type {Map<string, number[]>} */
  #cpu = new Map();
  #deliveredAt = 0;

  get workers() {
    return this.gateways.flatMap(({ gateway, workers }) => workers.map((worker) => ({ gateway, ...worker })));
  }

  /**
   * Take a report of all gateways.
   *
   * @param {Report} report
   * @param {number} now Unix time in ms
   */
  add(report, now) {
    this.missing = "";
    this.silent = report.received_by?.silent ?? 0;
    this.gateways = report.gateways;
    this.#remember(now);
  }

  /**
   * Take what one worker says of itself, because Redis is down. The workers of its gateway answer in turns.
   *
   * @param {Report} report
   * @param {string} missing why there is nothing about others
   * @param {number} now Unix time in ms
   */
  addOne(report, missing, now) {
    this.missing = missing;
    this.silent = 0;
    const fresh = report.gateways[0];
    if (!fresh) return;
    const own = new Set(fresh.workers.map(({ worker }) => worker));
    const others = this.gateways.find(({ gateway }) => gateway === fresh.gateway)?.workers ?? [];
    const recent = others.filter(({ worker }) => {
      const seen = this.#seen.get(keyOf(fresh.gateway, worker));
      return !own.has(worker) && seen !== undefined && now - seen.at < ABSENT_AFTER;
    });
    const workers = [...fresh.workers, ...recent].sort((one, other) => one.worker - other.worker);
    this.gateways = [{ ...fresh, workers }];
    this.#remember(now, own);
  }

  /** @param {number} now @param {Set<number>} [own] workers that this report is of; all of them by default */
  #remember(now, own) {
    const sample = { at: now, connections: 0, members: 0, deliveries: 0, frames: 0, delay: 0, waiting: 0 };
    for (const worker of this.workers) {
      const key = keyOf(worker.gateway, worker.worker);
      sample.connections += worker.connections;
      sample.members += worker.members;
      sample.waiting += worker.waiting_bytes;
      sample.delay = Math.max(sample.delay, worker.loop_delay_seconds);
      if (own && !own.has(worker.worker)) continue;
      const before = this.#counters.get(key);
      const seconds = before ? (now - before.at) / 1000 : 0;
      if (before && seconds > 0) {
        sample.deliveries += Math.max(0, worker.deliveries - before.deliveries) / seconds;
        sample.frames += Math.max(0, worker.frames - before.frames) / seconds;
        if (worker.deliveries > before.deliveries) this.#deliveredAt = now;
      }
      this.#counters.set(key, { at: now, deliveries: worker.deliveries, frames: worker.frames });
      this.#seen.set(key, { gateway: worker.gateway, worker: worker.worker, at: now });
      this.#cpu.set(key, [...(this.#cpu.get(key) ?? []), worker.cpu].slice(-30));
    }
    this.#deliveredAt ||= now;
    this.samples = [...this.samples.filter(({ at }) => now - at < KEPT), sample];
  }

  /** Stop naming a gateway that is gone. @param {string[]} gateways */
  forget(gateways) {
    for (const [key, { gateway }] of this.#seen) if (gateways.includes(gateway)) this.#seen.delete(key);
  }

  /** Other ready gateways than one. @param {string} gateway */
  otherReady(gateway) {
    return this.gateways.filter((one) => one.gateway !== gateway && one.workers.some(({ ready }) => ready)).length;
  }

  /** What is wrong, the worst first. @param {number} now @returns {Problem[]} */
  problems(now) {
    /** @type {Map<string, Problem>} */
    const found = new Map();
    /** @param {Level} level @param {string} what @param {string} remedy @param {string} [where] @param {Partial<Problem>} [more] */
    const add = (level, what, remedy, where, more) => {
      const problem = found.get(what) ?? { key: what, level, what, where: [], remedy, ...more };
      if (where !== undefined && !problem.where.includes(where)) problem.where.push(where);
      found.set(what, problem);
    };
    this.#absent(now, add);
    for (const gateway of this.gateways) this.#gateway(gateway, add);
    this.#together(now, add);
    this.#ends(now, add);
    return [...found.values()].sort((one, other) => LEVELS[one.level] - LEVELS[other.level]);
  }

  /** @param {number} now @param {(level: Level, what: string, remedy: string, where?: string, more?: Partial<Problem>) => void} add */
  #absent(now, add) {
    const there = new Set(this.workers.map(({ gateway, worker }) => keyOf(gateway, worker)));
    const names = new Set(this.gateways.map(({ gateway }) => gateway));
    const lost = [...this.#seen].filter(([key, { at }]) => !there.has(key) && now - at < KEPT).map(([, one]) => one);
    if (this.silent) {
      const remedy = "They are stuck, or exiting. A stuck worker serves nobody; gunicorn kills it after 60 s. Its log says `event loop blocked` with the stack.";
      add("now", `${this.silent === 1 ? "A worker does" : `${this.silent} workers do`} not answer`, remedy);
      for (const { gateway, worker } of lost) if (names.has(gateway)) add("now", `${this.silent === 1 ? "A worker does" : `${this.silent} workers do`} not answer`, remedy, `${gateway}, worker ${worker}`);
    }
    if (this.missing) return;
    for (const { gateway } of lost) {
      if (names.has(gateway)) continue;
      add("now", "A gateway is gone", "It has ended, or lost Redis. If nobody stopped it: see the end of its log, and start it.", gateway, { gone: true });
    }
  }

  /** @param {Gateway} gateway @param {(level: Level, what: string, remedy: string, where?: string, more?: Partial<Problem>) => void} add */
  #gateway({ gateway, workers }, add) {
    for (const worker of workers) {
      const where = `${gateway}, worker ${worker.worker}`;
      for (const problem of worker.problems) {
        const [, level, remedy] = REMEDIES.find(([beginning]) => problem.startsWith(beginning)) ?? ["", /** @type {Level} */ ("now"), "The log of the worker says more."];
        const isDrained = problem === "draining";
        add(level, isDrained ? "Draining" : `Not ready: ${problem}`, remedy, isDrained ? gateway : where, isDrained ? { drained: [] } : {});
      }
      if (worker.loop_delay_seconds > DELAY) add(worker.loop_delay_seconds > 1 ? "now" : "day", "The event loop is late", "All clients of the worker wait. Too much load, or code that blocks: its log says `event loop blocked` with the stack.", where);
      if (worker.behind_seconds > LAG) add("now", "The broker sends more than a worker can process", "Events are late. Add workers or hosts, or receive less: see sizing.", where);
      if (worker.lag_seconds > LAG) add("now", "Private events are late", "RabbitMQ or the worker is overloaded: see the load of both.", where);
      const cpu = this.#cpu.get(keyOf(gateway, worker.worker)) ?? [];
      if (cpu.length >= 15 && cpu.reduce((sum, one) => sum + one, 0) / cpu.length > BUSY) add("day", "A worker uses its core fully", "Add workers or hosts: see sizing.", where);
      if (worker.redis === false) add("day", "Redis is not connected", "Limits count for each worker only, and commands do not reach it. See whether Redis runs and can be reached from that host.", where);
    }
    const connections = workers.reduce((sum, one) => sum + one.connections, 0);
    const room = workers.reduce((sum, one) => sum + one.max_connections, 0);
    if (room && connections >= room) add("now", "A gateway is full", "It refuses clients with 503. Add a host, or raise WEBSOCKET_MAX_CONNECTIONS.", gateway);
    else if (room && connections > FULL * room) add("day", "A gateway is nearly full", "Add a host, or raise WEBSOCKET_MAX_CONNECTIONS.", gateway);
    if (workers.reduce((sum, one) => sum + one.waiting_bytes, 0) > WAITING) add("day", "Many bytes wait for slow clients", "The network or the proxy is slow, or clients have more streams than they can read. The members' connections show which.", gateway);
  }

  /** @param {number} now @param {(level: Level, what: string, remedy: string, where?: string, more?: Partial<Problem>) => void} add */
  #together(now, add) {
    const before = this.samples.find(({ at }) => now - at < 60_000);
    const last = this.samples.at(-1);
    if (!this.silent && !this.missing && before && last && before.connections > 100 && last.connections < before.connections / 2)
      add("now", `Connections fell from ${before.connections} to ${last.connections} within a minute`, "See the proxy, the network, and the last deployment. Clients come back by themselves once they can.");
    if (this.gateways.length && now - this.#deliveredAt > QUIET)
      add("note", "No message from RabbitMQ for a minute", "The market is quiet, or Peatio does not publish: see its daemons.");
    const versions = new Set(this.workers.map(({ version }) => version));
    if (versions.size > 1) add("note", `Versions differ: ${[...versions].sort().join(", ")}`, "An upgrade is under way, or was not finished.");
  }

  /** @param {number} now @param {(level: Level, what: string, remedy: string, where?: string, more?: Partial<Problem>) => void} add */
  #ends(now, add) {
    const { closes, refusals } = this.ends;
    /** @param {{ at: string }} one @param {number} seconds */
    const isRecent = (one, seconds) => now - Date.parse(one.at) < seconds * 1000;
    const faults = closes.filter((one) => one.code === 1011 && one.by === "gateway" && isRecent(one, 600));
    for (const { gateway } of faults) add("day", "Connections ended with 1011 in the last ten minutes", "A bug, or an exception in a handler: the log has the traceback (`connection failed`, `handler failed`).", gateway);
    const slow = closes.filter((one) => one.code === 4413 && isRecent(one, 60));
    if (slow.length >= 10) for (const { gateway } of slow) add("day", "Many clients were too slow in the last minute", "The network or the proxy is slow, or clients have more streams than they can read.", gateway);
    const full = [...closes.filter((one) => one.code === 1013), ...refusals.filter(({ status }) => status === 503)].filter((one) => isRecent(one, 120));
    for (const { gateway } of full) add("now", "Clients were refused in the last two minutes", "The gateway is full, drains, or has no key: the refusals below say which.", gateway);
  }
}
