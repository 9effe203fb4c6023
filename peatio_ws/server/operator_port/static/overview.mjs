/** The first view: is something wrong, where, and what to do; figures over time; workers. */

import { Chart } from "./chart.mjs";
import * as commands from "./commands.mjs";
import { $, button, element, foreign, Rows, set, setMarked, visible } from "./dom.mjs";
import { age, counted, delay, size, whole } from "./format.mjs";
import { server } from "./interface.mjs";

/** @typedef {import("./fleet.mjs").Fleet} Fleet */
/** @typedef {import("./fleet.mjs").Gateway} Gateway */
/** @typedef {import("./fleet.mjs").Worker} Worker */
/** @typedef {import("./fleet.mjs").Problem} Problem */

const LEVELS = { now: "now", day: "can wait", note: "note" };
const SHOWN_PLACES = 4;

/** @param {string} name @param {string} [kind] */
const cell = (name, kind = "") => element(name, "", kind);

export class Overview {
  #fleet;
  #problems;
  #gateways;
  #charts;

  /** @param {Fleet} fleet */
  constructor(fleet) {
    this.#fleet = fleet;
    this.#problems = new Rows($("problems"), (/** @type {Problem} */ { key }) => key, () => this.#problemRow());
    this.#gateways = new Rows($("workers"), (/** @type {Gateway | null} */ one) => one?.gateway ?? "", (one) => (one ? this.#gatewayRows() : { node: $("workers").tHead, show: () => {} }));
    const few = (/** @type {number} */ value) => (value < 10 && value % 1 ? value.toFixed(1) : whole(value));
    this.#charts = [
      new Chart($("chart-connections"), [{ name: "open", of: (one) => one.connections }, { name: "of members", of: (one) => one.members }], whole, 10),
      new Chart($("chart-deliveries"), [{ name: "to clients", of: (one) => one.frames }, { name: "from RabbitMQ", of: (one) => one.deliveries }], few, 10),
      new Chart($("chart-delay"), [{ name: "", of: (one) => one.delay }], delay, 0.02),
      new Chart($("chart-waiting"), [{ name: "", of: (one) => one.waiting }], size, 1000),
    ];
    $("notice").addEventListener("click", () => commands.sendNotice());
    $("drain-all").addEventListener("click", () => commands.drainAll(fleet.gateways.length, fleet.samples.at(-1)?.connections ?? 0));
  }

  /** @param {number} now Unix time in ms */
  show(now) {
    const fleet = this.#fleet;
    const problems = fleet.problems(now);
    const urgent = problems.filter(({ level }) => level !== "note").length;
    const isNow = problems.some(({ level }) => level === "now");
    $("verdict").dataset.level = isNow ? "now" : urgent ? "day" : "well";
    set($("verdict-text"), !fleet.workers.length ? "No gateway answers" : urgent ? counted(urgent, "problem") : "All is well");
    document.title = `${urgent ? `(${urgent}) ` : ""}Operator · Peatio WebSocket gateway`;
    const versions = [...new Set(fleet.workers.map(({ version }) => version))].sort();
    const [gateways, workers] = [fleet.gateways.length, fleet.workers.length];
    set($("summary"), workers ? `${counted(gateways, "gateway")} with ${counted(workers, "worker")}, version ${versions.join(" and ")}` : "");
    $("missing").hidden = !fleet.missing;
    set($("missing"), fleet.missing);
    this.#problems.show(problems);
    this.#gateways.show([null, ...fleet.gateways]);
    $("no-worker").hidden = workers > 0;
    for (const chart of this.#charts) chart.show(fleet.samples);
  }

  #problemRow() {
    const node = element("li");
    const level = element("span");
    const what = element("b");
    const where = element("span", "", "where");
    const remedy = element("p", "", "remedy");
    const act = element("span", "", "act");
    const head = element("p");
    head.append(level, " ", what, " ", where);
    node.append(head, remedy, act);
    /** @type {string[]} */
    let shown = [];
    /** @param {Problem} problem */
    const show = (problem) => {
      node.className = problem.level;
      level.className = `chip ${problem.level}`;
      set(level, LEVELS[problem.level]);
      set(what, problem.what);
      const more = problem.where.length - SHOWN_PLACES;
      set(where, problem.where.slice(0, SHOWN_PLACES).map(visible).join("; ") + (more > 0 ? ` and ${more} more` : ""));
      setMarked(remedy, problem.remedy);
      if (shown.join() === problem.where.join()) return;
      shown = problem.where;
      act.replaceChildren();
      if (problem.drained) for (const gateway of shown.slice(0, SHOWN_PLACES)) act.append(button(`Undo the drain of ${visible(gateway)}…`, () => commands.undoDrain(gateway)));
      if (problem.gone) act.append(button("It was stopped: forget it", () => this.#forget(shown)));
    };
    return { node, show };
  }

  /** @param {string[]} gateways */
  #forget(gateways) {
    this.#fleet.forget(gateways);
    this.show(server.now());
  }

  /** A gateway with its workers: one body of the table. */
  #gatewayRows() {
    const node = element("tbody");
    const head = element("tr", "", "gateway");
    const name = element("th");
    name.setAttribute("scope", "rowgroup");
    name.setAttribute("colspan", "11");
    const title = foreign("b", "");
    const about = element("span", "", "soft");
    const act = button("", () => act.dataset.undo === "yes" ? commands.undoDrain(title.title) : commands.drainGateway(title.title, Number(act.dataset.connections), this.#fleet.otherReady(title.title)));
    const line = element("div", "", "line");
    line.append(title, about, act);
    name.append(line);
    head.append(name);
    node.append(head);
    const rows = new Rows(node, (/** @type {Worker | null} */ one) => String(one?.worker ?? ""), (one) => (one ? workerRow() : { node: head, show: () => {} }));
    /** @param {Gateway | null} gateway */
    const show = (gateway) => {
      if (!gateway) return;
      const { workers } = gateway;
      const connections = workers.reduce((sum, one) => sum + one.connections, 0);
      const isDraining = workers.some(({ problems }) => problems.includes("draining"));
      title.title = gateway.gateway;
      set(title, visible(gateway.gateway));
      set(about, `${counted(workers.length, "worker")}, ${counted(connections, "connection")}`);
      act.dataset.undo = isDraining ? "yes" : "no";
      act.dataset.connections = String(connections);
      set(act, isDraining ? "Undo drain…" : "Drain…");
      act.setAttribute("aria-label", `${isDraining ? "Undo the drain of" : "Drain"} ${visible(gateway.gateway)}`);
      rows.show([null, ...workers]);
    };
    return { node, show };
  }
}

function workerRow() {
  const node = element("tr");
  const pid = element("th");
  pid.setAttribute("scope", "row");
  const number = element("span");
  const below = element("small", "", "narrow");
  pid.append(number, below);
  const [version, up] = [cell("td", "wide"), cell("td", "roomy")];
  const open = cell("td");
  const [count, room] = [element("span"), element("meter")];
  open.append(count, room);
  const [members, cpu, memory, late, lag, waiting, state] = [cell("td", "wide"), cell("td"), cell("td", "roomy"), cell("td"), cell("td", "wide"), cell("td", "wide"), cell("td", "state")];
  const chip = element("span");
  state.append(chip);
  node.append(pid, version, up, open, members, cpu, memory, late, lag, waiting, state);
  /** @param {Worker | null} worker */
  const show = (worker) => {
    if (!worker) return;
    set(number, String(worker.worker));
    set(below, `up ${age(worker.since)}`);
    set(version, worker.version);
    set(up, age(worker.since));
    set(count, whole(worker.connections));
    Object.assign(room, { min: 0, max: worker.max_connections || 1, value: worker.connections });
    room.setAttribute("aria-label", `${worker.connections} of ${worker.max_connections} connections`);
    set(members, whole(worker.members));
    set(cpu, `${Math.round(worker.cpu * 100)} %`);
    set(memory, size(worker.memory_bytes));
    set(late, delay(worker.loop_delay_seconds));
    set(lag, delay(worker.lag_seconds));
    set(waiting, worker.waiting_bytes ? `${size(worker.waiting_bytes)} for ${whole(worker.slow_clients)}` : "0 B");
    cpu.className = worker.cpu > 0.8 ? "high" : "";
    late.className = worker.loop_delay_seconds > 0.25 ? "high" : "";
    lag.className = `wide ${worker.lag_seconds > 5 ? "high" : ""}`;
    const text = worker.ready ? "ready" : worker.problems.map(visible).join("; ");
    set(chip, text);
    chip.className = worker.ready ? "chip done" : worker.problems.join() === "draining" ? "mark" : "chip bad";
    chip.title = text;
  };
  return { node, show };
}
