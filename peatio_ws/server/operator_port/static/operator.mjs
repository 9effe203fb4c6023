/**
 * The operator's page: shows what the HTTP interface of the gateway reports, and sends its commands.
 *
 * The views are parts of one document, chosen by the hash. The page fetches nothing from any other host, and keeps the token in
 * the tab's session storage only.
 */

import { after } from "./commands.mjs";
import { tell } from "./dialogs.mjs";
import { $, set } from "./dom.mjs";
import { Ends } from "./ends.mjs";
import { Fleet } from "./fleet.mjs";
import { clock } from "./format.mjs";
import { ask, Failed, LockedOut, server, token, WrongToken } from "./interface.mjs";
import { Members, MemberView } from "./members.mjs";
import { Overview } from "./overview.mjs";
import { Revocations } from "./revocations.mjs";
import { TraceView } from "./trace.mjs";

const EVERY = 2000; // ms
const EVERY_HIDDEN = 10_000; // ms, while another tab is shown
const ENDS_EVERY = 5; // rounds
const WITHOUT_REDIS = "Only the workers of this gateway that answered are shown. Missing: other gateways, members, revocations and all commands.";

const fleet = new Fleet();
const overview = new Overview(fleet);
const ends = new Ends();
const members = new Members();
const revocations = new Revocations();
const member = new MemberView();
const trace = new TraceView(refused);

/** Counts the times that the page was unlocked: what began before the last time ends. */
let opened = 0;
let round = 0;
let shown = "";
/** Ends the wait for the next round. */
let hurry = () => {};

// ---- the token

/** @param {SubmitEvent} event */
function enter(event) {
  event.preventDefault();
  token.set($("token").value);
  $("token").value = "";
  open();
}

function open() {
  set($("refused"), "");
  const own = (opened += 1);
  round = 0;
  run(own).catch(refused);
}

/** @param {boolean} isLocked */
function show(isLocked) {
  $("entry").hidden = !isLocked;
  for (const id of ["content", "views", "switch"]) $(id).hidden = isLocked;
  if (isLocked) document.body.dataset.state = "locked";
}

/** Forget the token, and say why. @param {string} [why] */
function lock(why = "") {
  opened += 1;
  shown = "";
  token.forget();
  trace.stop();
  $("dialog").close();
  $("banner").hidden = true;
  show(true);
  set($("refused"), why);
  $("token").focus();
}

/** Lock the page for a wrong token, and wait while the address is locked out. @param {unknown} error others are thrown */
function refused(error) {
  if (error instanceof WrongToken) return lock(error.message);
  if (!(error instanceof LockedOut)) throw error;
  if (shown === "") {
    lock("");
    return waitFor(error.seconds);
  }
  // The token was right: somebody else with this address, or behind the same proxy, used a wrong one.
  restUntil = Date.now() + error.seconds * 1000;
  fail("locked out", lockedOut(error.seconds));
}

/** @param {number} seconds */
const lockedOut = (seconds) => `Ten requests from this address had a wrong token. The gateway answers again in ${seconds} s, to the right token, too.`;

/** Count down until the next try is answered. @param {number} seconds */
function waitFor(seconds) {
  const own = opened;
  const until = Date.now() + seconds * 1000;
  const tick = () => {
    const left = Math.ceil((until - Date.now()) / 1000);
    if (own !== opened) return;
    $("enter").disabled = left > 0;
    set($("refused"), left > 0 ? lockedOut(left) : "You can try again.");
    if (left > 0) setTimeout(tick, 500);
  };
  tick();
}

// ---- rounds

/** @param {number} own */
async function run(own) {
  $("enter").disabled = true;
  try {
    await refresh();
  } finally {
    $("enter").disabled = false;
  }
  if (own !== opened) return;
  show(false);
  route();
  for (;;) {
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.max(document.hidden ? EVERY_HIDDEN : EVERY, restUntil - Date.now()));
      hurry = () => {
        clearTimeout(timer);
        resolve(undefined);
      };
    });
    if (own !== opened) return;
    await refresh().catch(refused);
    if (own !== opened) return;
    if (shown === "member") await member.load().catch(ignoreFailed).catch(refused);
  }
}

/** Read the workers, and from time to time the last ends. A gateway without Redis reports only itself. */
async function refresh() {
  try {
    try {
      fleet.add(await ask("gateways"), server.now());
      if (round++ % ENDS_EVERY === 0) fleet.ends = await ask("closes");
    } catch (error) {
      if (!(error instanceof Failed) || error.status !== 503) throw error;
      const report = await ask("worker");
      const isSet = report.gateways.some((/** @type {any} */ one) => one.workers.some((/** @type {any} */ worker) => worker.redis !== null));
      fleet.addOne(report, isSet ? `${error.message} ${WITHOUT_REDIS}` : `This gateway has no REDIS_URL. ${WITHOUT_REDIS}`, server.now());
      fleet.ends = report;
    }
    become("live");
    set($("as-of"), clock(Date.now()));
  } catch (error) {
    if (!(error instanceof Failed)) throw error;
    if (error.status) return fail("error", error.message);
    return fail("no answer", `The gateway has not answered since ${lastAnswer}. What is shown may be old. If it stays so, restart the gateway.`);
  }
  if (hasFailed) $("banner").hidden = true;
  hasFailed = false;
  lastAnswer = clock(Date.now());
  ends.take(fleet.ends);
  overview.show(server.now());
}

/** @param {string} state @param {string} text */
function fail(state, text) {
  become("cut", state);
  tell(text, "bad");
  hasFailed = true;
}

/** Until when no request is made, in the browser's time. */
let restUntil = 0;
let hasFailed = false;
let lastAnswer = "this page was opened";

/** @param {"live" | "cut"} state @param {string} [text] */
function become(state, text = state) {
  document.body.dataset.state = state;
  set($("state"), text);
}

/** The view shows it. @param {unknown} error */
function ignoreFailed(error) {
  if (!(error instanceof Failed)) throw error;
}

// ---- views

/** Show the view of the hash. */
function route() {
  if ($("content").hidden) return;
  const [name, ...rest] = location.hash.slice(1).split("/");
  const given = rest.map(decoded);
  const view = document.getElementById(`view-${name}`) ? name : "overview";
  for (const one of document.querySelectorAll(".view")) /** @type {HTMLElement} */ (one).hidden = one.id !== `view-${view}`;
  for (const one of document.querySelectorAll("#views a")) {
    const own = one.getAttribute("href")?.slice(1);
    if (own === view || (own === "members" && view === "member")) one.setAttribute("aria-current", "page");
    else one.removeAttribute("aria-current");
  }
  const isOther = shown !== "" || document.activeElement === document.body; // not after a reload
  shown = view;
  if (view === "members") members.load().catch(ignoreFailed).catch(refused);
  else if (view === "member") member.open(given[0] ?? "").catch(ignoreFailed).catch(refused);
  else if (view === "revocations") revocations.load().catch(ignoreFailed).catch(refused);
  else if (view === "trace" && given.length === 2) trace.start(given[0], given[1]);
  if (isOther) /** @type {HTMLElement | null} */ (document.querySelector(`#view-${view} h2`))?.focus();
}

/** @param {string} part of the hash */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

after.done = () => {
  round = 0;
  hurry();
  if (shown === "revocations") revocations.load().catch(ignoreFailed).catch(refused);
};
$("entry").addEventListener("submit", enter);
$("lock").addEventListener("click", () => lock());
$("dismiss").addEventListener("click", () => ($("banner").hidden = true));
$("reload-members").addEventListener("click", () => members.load().catch(ignoreFailed).catch(refused));
addEventListener("hashchange", route);
document.addEventListener("visibilitychange", () => document.hidden || hurry());
if (token.get()) open();
else $("token").focus();
