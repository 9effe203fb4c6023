/**
 * The console: shows what the client in `peatio-client.mjs` receives, as it arrives.
 *
 * It uses one connection: for the member's orders and trades, which resume, and for the public streams, which start
 * from scratch. The page fetches nothing from any other host.
 */

import { Depth } from "./depth.mjs";
import { copyButton, Frames } from "./frames.mjs";
import { Line } from "./line.mjs";
import { NoToken, PeatioClient, Refused } from "./peatio-client.mjs";
import { Rate } from "./rate.mjs";
import * as snippets from "./snippets.mjs";

const SHOWN_ROWS = 60;
const DRAW_EVERY = 100; // ms
const ANSWER_WITHIN = 10_000; // ms
/** The offered views of the book, by the end of their streams' names. @type {Record<string, [name: string, View]>} */
const VIEWS = {
  "ob-inc": ["every change", { every: 0 }],
  "ob-inc@250ms": ["at most 4 a second", { every: 250 }],
  "ob-inc@1000ms": ["at most 1 a second", { every: 1000 }],
  "ob-top@20": ["best 20", { depth: 20 }],
  "ob-top@5/1000ms": ["best 5, 1 a second", { depth: 5, every: 1000 }],
};
const LADDER_ROW = 21.5; // px
const LADDER_REST = 158; // px: the rest of its card

/** @typedef {import("./peatio-client.mjs").View} View */

const { simulated, market: given } = document.documentElement.dataset;
const isSimulated = simulated === "yes";
let market = given ?? "btcusd";

/** @param {string} id @returns {any} */
const $ = (id) => document.getElementById(id);
/** @param {string} name @param {string} [text] @param {string} [kind] */
const element = (name, text = "", kind = "") => Object.assign(document.createElement(name), { textContent: text, className: kind });
/** @param {string | number | Date} at */
const clock = (at) => new Date(at).toLocaleTimeString([], { hour12: false });
/** @param {unknown} number @param {number} [digits] */
const fixed = (number, digits = 4) => Number(number).toFixed(digits);
/** The end of an id is enough to distinguish it from its neighbours. @param {string | number} id */
const short = (id) => `#${String(id).slice(-6)}`;
/** @param {number} count @param {string} what */
const counted = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;
/** @param {Element} body @param {Element} row */
const putFirst = (body, row) => {
  body.prepend(row);
  while (body.children.length > SHOWN_ROWS) body.lastElementChild?.remove();
};

// ---- the frames, and what they say about the connection

const line = new Line(listen);
const frames = new Frames();
const count = { in: 0, out: 0 };
const rates = { all: new Rate(), book: new Rate() };
/** What to do at the answers to pings, in their order. @type {((() => void) | null)[]} */
const answers = [];
/** The same for the ping that is being sent. @type {(() => void) | null} */
let atAnswer = null;
/**
 * Whether arriving events are missed ones: from the answer to the token until the answer to a ping, which the gateway
 * handles only after it has sent all missed events. The same for market trades, from the first answer on.
 */
const replaying = { own: false, trades: false };
/** Cursors of missed events. @type {Set<string>} */
const missed = new Set();
/** Frames of missed market trades. @type {Set<string>} */
const missedTrades = new Set();
let areTradesMissing = false;

/** @param {"in" | "out"} direction @param {string} text */
function listen(direction, text) {
  count[direction] += 1;
  if (direction === "in") rates.all.add(text);
  if (text === "ping") answers.push(atAnswer);
  if (text === "pong") answers.shift()?.();
  if (text === "ping" || text === "pong") return;
  const frame = parsed(text);
  const name = Object.keys(frame)[0] ?? "";
  if (name === book?.stream || name === `${book?.name}-snap`) rates.book.add(text);
  if (replaying.own && frame.cursor) missed.add(frame.cursor);
  if (replaying.trades && name === `${market}.trades`) missedTrades.add(text);
  const isMissed = missed.has(frame.cursor) || missedTrades.has(text);
  frames.add({ direction, text, isPublic: name.includes("."), isMissed });
  if (direction === "out") {
    if (frame.jwt) step("token", isSimulated ? "made by this gateway for its simulated member" : "yours");
    return;
  }
  if (frame.success) step("open", location.host);
  if (frame.success && isReturning) replayTrades(frame.complete ?? {});
  if (frame.success?.message === "Authenticated.") {
    step("in", "");
    replaying.own = lostAt !== null;
    isGap = false;
    missed.clear();
  }
  if (frame.resume?.complete === false) tellGap();
  if (frame.success?.message === "subscribed" && replaying.own) ping(endReplay);
  if (frame.success?.order_id) answerOrder(`${frame.success.message.replace(".", "")}: ${short(frame.success.order_id)}`, true);
}

/** Call a function when the gateway has handled, and answered, all that it has received so far. @param {() => void} answered */
function ping(answered) {
  atAnswer = answered;
  line.send("ping");
  atAnswer = null;
}

/** @param {string} text @returns {any} an object; an empty one for other texts */
function parsed(text) {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
}

/** @param {string} name @param {string} text */
function step(name, text) {
  const item = $(`step-${name}`);
  item.classList.add("done");
  item.lastElementChild.textContent = text;
}

// ---- the connection's state

/** @type {"connecting" | "live" | "cut" | "away" | "ended"} */
let state = "connecting";
/** When the connection was lost; null if it was not. @type {number | null} */
let lostAt = null;
let isGap = false;
/** Whether the first answer after a lost connection has not come yet. */
let isReturning = false;
let nextTry = 0;
/** Whether the user closed the line about the cut. */
let isDismissed = false;

/** @param {typeof state} next @param {string} [text] */
function become(next, text = next) {
  state = next;
  document.body.dataset.state = next;
  $("state").textContent = text;
  $("cut").textContent = line.cutSince === null ? "Cut the line" : "Mend the line";
  $("cut").disabled = next === "connecting" || next === "ended";
  allowOrders();
}

function allowOrders() {
  $("place").disabled = state !== "live" || isWaiting;
  $("send").disabled = state !== "live";
}

/** @param {string} text @param {"cut" | "well" | "bad"} kind */
function tell(text, kind) {
  $("banner").hidden = false;
  $("banner").className = kind;
  if ($("news").textContent !== text) $("news").textContent = text;
}

function connected() {
  become("live");
  if (lostAt === null) $("banner").hidden = true; // the obstacle to the first connection is gone
}

/** At once on a connection that stays; otherwise with the other news of the reconnect. */
function tellGap() {
  isGap = true;
  if (state === "live" && lostAt === null) tell("Events may be missing: read your orders over REST.", "bad");
}

/** The missed market trades follow, if the gateway has them all. @param {Record<string, boolean>} complete by stream */
function replayTrades(complete) {
  isReturning = false;
  areTradesMissing = complete[`${market}.trades`] !== true;
  missedTrades.clear();
  replaying.trades = true;
  ping(() => {
    replaying.trades = false;
    if (!hasToken) endReplay();
  });
}

/** Mark in the market trades that some may be missing. @param {{ stream: string }} missed */
function showHole({ stream }) {
  if (stream !== `${market}.trades`) return;
  const row = element("tr", "", "hole");
  const cell = element("td", "trades may be missing here");
  cell.setAttribute("colspan", "3");
  row.append(cell);
  putFirst($("tape"), row);
}

function endReplay() {
  replaying.own = false;
  const seconds = ((performance.now() - (lostAt ?? 0)) / 1000).toFixed(1);
  lostAt = null;
  const back = `Back after ${seconds} s`;
  if (isGap) return tell(`${back}, but events may be missing: read your orders over REST.`, "bad");
  const found = [[missed.size, "event"], [missedTrades.size, "market trade"]].filter(([number]) => number);
  const words = found.map(([number, what]) => counted(Number(number), String(what))).join(" and ");
  const what = words ? `: ${words} missed, delivered now and marked below.` : ".";
  const rest = areTradesMissing ? " Market trades of that time may be missing." : words ? "" : " You missed nothing.";
  tell(`${back}${hasToken ? ", resumed at the cursor" : ""}${what}${rest}`, "well");
}

/** @param {import("./peatio-client.mjs").Disconnected} end */
function disconnected({ code, reason, pause }) {
  lostAt ??= state === "live" || state === "cut" ? performance.now() : null;
  isReturning = lostAt !== null;
  replaying.own = replaying.trades = false; // their end has not come, and will not
  answers.length = 0;
  for (const item of $("steps").children) item.classList.toggle("done", item.id === "step-cursor");
  if (isWaiting) answerOrder("The connection was lost before the answer; check your orders.", false);
  nextTry = performance.now() + (pause ?? 0) * 1000;
  if (line.cutSince !== null) return become("cut");
  become("away", "disconnected");
  tell(`Connection lost (${code}${reason ? `: ${reason}` : ""}).`, "bad");
}

function cutOrMend() {
  isDismissed = false;
  if (line.cutSince === null) {
    line.cut();
    lostAt ??= performance.now();
    become("cut");
  } else {
    line.mend();
    become("away", "reconnecting");
  }
  tick();
}

function tick() {
  if (line.cutSince !== null) {
    const seconds = Math.floor((performance.now() - line.cutSince) / 1000);
    if (!isDismissed) tell(`The line is cut. The market goes on without you: ${seconds} s.`, "cut");
  } else if (state === "away") {
    const seconds = Math.ceil((nextTry - performance.now()) / 1000);
    $("state").textContent = seconds > 0 ? `reconnecting in ${seconds} s` : "reconnecting";
  }
  $("counted").textContent = `${count.in} in · ${count.out} out · ${rates.all}`;
  $("rate").textContent = `${rates.book}`;
}

// ---- the member's orders and trades

/** @typedef {{ data: any, trail: string[], isMissed: boolean }} Known */
/** @type {Map<number, Known>} */
const orders = new Map();
const STATES = /** @type {Record<string, string>} */ ({ wait: "open", done: "done", cancel: "cancelled" });

/** @param {any} data @returns {string} the word for the side */
const sideOf = (data) => (data.side === "sell" || data.side === "ask" ? "sell" : "buy");

/** @param {any} data @param {boolean} wasMissed */
function takeOrder(data, wasMissed) {
  const known = orders.get(data.id) ?? { data, trail: [], isMissed: false };
  const part = Number(data.executed_volume ?? 0);
  const step = data.state === "wait" && part ? `${fixed(part)}` : (STATES[data.state] ?? String(data.state));
  if (known.trail.at(-1) !== step) known.trail.push(step);
  known.data = data;
  known.isMissed = wasMissed;
  orders.delete(data.id); // the last changed order comes first
  orders.set(data.id, known);
  const row = orderRow(known);
  $(`order-${data.id}`)?.remove();
  putFirst($("orders"), row);
  $("no-order").hidden = true;
  if (orders.size > 4 * SHOWN_ROWS) orders.delete(orders.keys().next().value ?? 0);
  draw();
}

function missedMark() {
  return Object.assign(element("span", "missed", "mark"), { title: "published while the connection was lost" });
}

/** @param {Known} known */
function orderRow({ data, trail, isMissed }) {
  const row = element("tr", "", isMissed ? "missed" : "");
  row.id = `order-${data.id}`;
  row.dataset.state = data.state;
  const side = sideOf(data);
  const what = element("th", "", side);
  what.setAttribute("scope", "row");
  what.append(element("b", side === "buy" ? "Buy" : "Sell"), ` ${fixed(data.origin_volume)}`, element("small", short(data.id)));
  const filled = element("td");
  const bar = element("meter");
  Object.assign(bar, { min: 0, max: Number(data.origin_volume), value: Number(data.executed_volume ?? 0) });
  bar.setAttribute("aria-label", `${fixed(data.executed_volume ?? 0)} of ${fixed(data.origin_volume)} filled`);
  filled.append(bar, element("small", `${counted(data.trades_count, "trade")}`));
  const how = element("td");
  how.append(element("span", STATES[data.state] ?? data.state, `chip ${data.state}`));
  if (isMissed) how.append(missedMark());
  how.append(element("small", trail.slice(-4).join(" → "), "trail"));
  const last = element("td");
  if (data.state === "wait" && isSimulated) {
    const cancel = element("button", "×", "drop");
    cancel.setAttribute("aria-label", `Cancel order ${data.id}`);
    cancel.addEventListener("click", () => sendText(JSON.stringify({ event: "cancel_order", id: data.id })));
    last.append(cancel);
  }
  const average = Number(data.avg_price) ? fixed(data.avg_price, 2) : "–";
  row.append(what, element("td", data.price ?? "market"), filled, element("td", average, "wide"), how, last);
  return row;
}

/** @param {any} data @param {boolean} wasMissed */
function takeFill(data, wasMissed) {
  const side = sideOf(data);
  const row = element("tr", "", wasMissed ? "missed" : "");
  row.dataset.trade = data.id;
  const time = element("td", clock(data.created_at * 1000));
  if (wasMissed) time.append(missedMark());
  row.append(time, element("td", data.price, side), element("td", fixed(data.amount)), element("td", short(data.order_id), "soft wide"));
  putFirst($("fills"), row);
  $("no-fill").hidden = true;
}

// ---- the market

/** @type {PeatioClient | null} */
let client = null;
/** Maintained by the client; null before it is available. @type {import("./peatio-client.mjs").Book | null} */
let book = null;
const depth = new Depth($("depth"));
let isDrawing = false;

/** @param {"asks" | "bids"} side @returns {import("./depth.mjs").Row[]} */
function rows(side) {
  let sum = 0;
  return (book?.[side] ?? []).map(([price, volume]) => ({
    price,
    volume,
    number: Number(price),
    sum: (sum += Number(volume)),
  }));
}

function draw() {
  if (isDrawing) return;
  isDrawing = true;
  setTimeout(() => requestAnimationFrame(drawNow), DRAW_EVERY);
}

function drawNow() {
  isDrawing = false;
  const [asks, bids] = [rows("asks"), rows("bids")];
  const own = ownPrices();
  depth.show(asks, bids, own);
  drawLadder(asks, bids, own);
  $("sequence").textContent = book?.sequence == null ? "" : `sequence ${book?.sequence}`;
  document.body.classList.toggle("stale", book?.current === false);
  if (!asks.length || !bids.length) return;
  const [ask, bid] = [asks[0].number, bids[0].number];
  $("middle").textContent = fixed((ask + bid) / 2, 2);
  $("gap").textContent = `spread ${fixed(ask - bid, 1)}`;
  $("spread").textContent = `${bids[0].price} – ${asks[0].price}`;
  if (!isPriced && document.activeElement !== $("price"))
    $("price").value = $("order").side.value === "buy" ? bids[0].price : asks[0].price;
  total();
}

/** Prices of the member's waiting orders. */
function ownPrices() {
  const waiting = [...orders.values()].filter(({ data }) => data.state === "wait" && data.price);
  return waiting.map(({ data }) => Number(data.price));
}

/** @param {import("./depth.mjs").Row[]} asks @param {import("./depth.mjs").Row[]} bids @param {number[]} own */
function drawLadder(asks, bids, own) {
  // As many rows as fit; a card that grows with its content (on a phone) gets a few rows.
  const isNarrow = matchMedia("(max-width: 700px)").matches;
  const room = Math.floor(($("book").clientHeight - LADDER_REST) / LADDER_ROW / 2);
  const ladder = isNarrow ? 8 : Math.max(4, room);
  const shown = { asks: asks.slice(0, ladder).reverse(), bids: bids.slice(0, ladder) };
  const most = Math.max(shown.asks[0]?.sum ?? 0, shown.bids.at(-1)?.sum ?? 0);
  for (const side of /** @type {("asks" | "bids")[]} */ (["asks", "bids"]))
    $(side).replaceChildren(...shown[side].map((row) => ladderRow(row, most, own)));
}

// Its card shrinks when a line above it appears or wraps, and no event may arrive to redraw the book.
new ResizeObserver(() => drawLadder(rows("asks"), rows("bids"), ownPrices())).observe($("book"));

/** @param {import("./depth.mjs").Row} row @param {number} most @param {number[]} own */
function ladderRow({ price, volume, sum, number }, most, own) {
  const row = element("tr", "", own.includes(number) ? "own" : "");
  row.style.setProperty("--share", `${(100 * sum) / most}%`);
  row.append(element("td", price), element("td", fixed(volume)), element("td", fixed(sum, 3)));
  row.addEventListener("click", () => {
    isPriced = true;
    $("price").value = price;
    total();
  });
  return row;
}

/** @param {any} row @param {boolean} wasMissed */
function takeTrade(row, wasMissed) {
  const side = row.taker_type === "sell" ? "sell" : "buy";
  const line = element("tr", "", wasMissed ? "missed" : "");
  line.dataset.trade = row.tid;
  line.append(element("td", clock(row.date * 1000)), element("td", row.price, side), element("td", fixed(row.amount)));
  putFirst($("tape"), line);
  showLast(row.price);
}

/** @param {string} price */
function showLast(price) {
  const before = Number($("last").textContent);
  $("last").textContent = price;
  // The ticker arrives only occasionally.
  if (Number(price) > Number($("high").textContent)) $("high").textContent = price;
  if (Number(price) < Number($("low").textContent)) $("low").textContent = price;
  if (before && before !== Number(price)) $("last").dataset.moved = Number(price) > before ? "up" : "down";
}

/** @param {any} ticker */
function takeTicker(ticker) {
  if (!ticker) return;
  showLast(ticker.last);
  $("change").textContent = ticker.price_change_percent;
  $("change").className = String(ticker.price_change_percent).startsWith("-") ? "sell" : "buy";
  $("high").textContent = ticker.high;
  $("low").textContent = ticker.low;
  $("amount").textContent = fixed(ticker.amount ?? ticker.volume, 2); // Peatio before 2.4: the amount is its `volume`
}

/** Offer the markets that have a ticker. @param {string[]} names */
function offerMarkets(names) {
  if (names.length === $("markets").children.length) return;
  $("markets").replaceChildren(...names.map((name) => Object.assign(element("option"), { value: name })));
}

function switchMarket() {
  const chosen = $("market").value.trim().toLowerCase();
  if (!client || chosen === market || !$("market").reportValidity()) return;
  client.unsubscribe(`${market}.trades`);
  market = chosen;
  isPriced = false;
  for (const id of ["last", "change", "high", "low", "amount", "middle"]) $(id).textContent = "–";
  for (const id of ["gap", "spread"]) $(id).textContent = "";
  for (const id of ["tape", "asks", "bids"]) $(id).replaceChildren();
  client.subscribe(`${market}.trades`);
  follow();
}

/** Follow the book of the market at the chosen pace. */
function follow() {
  rates.book.reset();
  if (book && book.name !== `${market}.ob`) client?.unsubscribe(book.stream);
  book = client?.book(market, VIEWS[$("pace").value][1]) ?? null;
  draw();
}

/** @param {import("./peatio-client.mjs").PeatioEvent} event */
function take({ stream, data, cursor, text }) {
  const wasMissed = cursor !== null && missed.has(cursor);
  if (cursor !== null) step("cursor", cursor);
  if (stream === "order") takeOrder(data, wasMissed);
  else if (stream === "trade") takeFill(data, wasMissed);
  else if (stream === `${market}.trades`) for (const row of data.trades ?? []) takeTrade(row, missedTrades.has(text));
  else if (stream === "global.tickers") {
    offerMarkets(Object.keys(data));
    takeTicker(data[market]);
  }
}

// ---- an order

/** Whether the user chose the price; otherwise it follows the market. */
let isPriced = false;
let isWaiting = false;
let patience = 0;

function total() {
  const form = $("order");
  const isMarket = form.ord_type.value === "market";
  const side = form.side.value;
  $("price").disabled = isMarket;
  const best = side === "buy" ? book?.bestAsk : book?.bestBid;
  const price = isMarket ? Number(best?.[0]) : Number($("price").value);
  const sum = price * Number($("volume").value);
  $("total").textContent = Number.isFinite(sum) ? `${isMarket ? "about " : ""}${fixed(sum, 2)} USD` : "–";
  $("place").textContent = `${side === "buy" ? "Buy" : "Sell"} ${$("volume").value} BTC`;
  $("place").className = `main ${side}`;
}

/** @param {SubmitEvent} event */
function place(event) {
  event.preventDefault();
  const { side, ord_type, price, volume } = Object.fromEntries(new FormData($("order")));
  isWaiting = true;
  $("answer").textContent = "";
  allowOrders();
  patience = setTimeout(() => answerOrder("No answer yet; check your orders.", false), ANSWER_WITHIN);
  sendText(JSON.stringify({ event: "place_order", market, side, ord_type, ...(ord_type === "limit" && { price }), volume }));
}

/** @param {string} text @param {boolean} isWell */
function answerOrder(text, isWell) {
  clearTimeout(patience);
  isWaiting = false;
  $("answer").textContent = text;
  $("answer").className = isWell ? "well" : "bad";
  allowOrders();
}

// ---- frames of the user, and programs

/** The last message to a handler. @type {any} */
let request = null;

/** @param {string} text */
function sendText(text) {
  const { event } = parsed(text);
  if (typeof event === "string" && event !== "subscribe" && event !== "unsubscribe") request = parsed(text);
  if (text !== "ping") return line.send(text);
  const shown = { isPublic: false, isMissed: false };
  frames.add({ ...shown, direction: "out", text });
  ping(() => frames.add({ ...shown, direction: "in", text: "pong" }));
}

/** @param {SubmitEvent} event */
function sendFrame(event) {
  event.preventDefault();
  sendText($("frame").value.trim());
}

function showProgram() {
  const url = address();
  const streams = [...(hasToken ? ["order", "trade"] : []), `${market}.trades`, "global.tickers"];
  const view = VIEWS[$("pace").value][1];
  const language = /** @type {"python" | "javascript" | "wscat"} */ ($("languages").elements.language.value);
  $("program").textContent = snippets[language]({ url, market, streams, view, bookStream: `${market}.${$("pace").value}`, hasToken, request });
  for (const one of $("program-heads").children) one.hidden = one.dataset.language !== language;
  $("token-head").hidden = !hasToken;
  if (isSimulated) $("token-command").textContent = 'export TOKEN="$(.venv/bin/python -m peatio_ws token --member-id 1001)"';
}

// ---- start

/** Whether the client has a token; without one it receives public data. */
let hasToken = true;

/** The address of the gateway. */
function address() {
  const url = new URL(".", location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

/** @returns {Promise<string>} */
async function fetchToken() {
  const answer = await fetch("console/session", { method: "POST" }).catch(() => null);
  if (!answer?.ok) throw new NoToken(`the gateway does not answer${answer ? `: HTTP ${answer.status}` : ""}`);
  return (await answer.json()).token;
}

/** @param {(() => string | Promise<string>) | undefined} token */
async function run(token) {
  hasToken = token !== undefined;
  const streams = [...(hasToken ? ["order", "trade"] : []), `${market}.trades`, "global.tickers"];
  client = new PeatioClient(address(), { token, streams, WebSocket: line.WebSocket })
    .on("connected", connected)
    .on("disconnected", disconnected)
    .on("event", take)
    .on("book", draw)
    .on("stale", draw)
    .on("gap", () => {}) // `listen` sees it among the frames
    .on("missed", showHole)
    .on("error", (message) => (isWaiting ? answerOrder(message, false) : tell(message, "bad")));
  follow();
  become("connecting");
  try {
    await client.run();
  } catch (error) {
    client = book = null;
    become("ended");
    tell(error instanceof Error ? error.message : String(error), "bad");
    if (error instanceof Refused && !isSimulated) $("entry").hidden = false;
    else throw error;
  }
}

$("cut").addEventListener("click", cutOrMend);
$("dismiss").addEventListener("click", () => {
  isDismissed = true;
  $("banner").hidden = true;
});
$("order").addEventListener("submit", place);
$("price").addEventListener("input", () => {
  isPriced = $("price").value !== "";
});
$("order").addEventListener("input", total);
$("market").addEventListener("change", switchMarket);
$("market").form.addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  switchMarket();
});
for (const [pace, [name]] of Object.entries(VIEWS)) $("pace").append(Object.assign(element("option", name), { value: pace }));
$("pace").addEventListener("change", follow);
$("sending").addEventListener("submit", sendFrame);
$("show-code").addEventListener("click", () => {
  showProgram();
  $("code").showModal();
});
$("close-code").addEventListener("click", () => $("code").close());
$("languages").addEventListener("change", showProgram);
$("copy-code").append(copyButton(() => $("program").textContent));
setInterval(tick, 250);
$("market").value = market;
become("connecting");

if (isSimulated) {
  run(fetchToken);
} else {
  $("order").hidden = true;
  $("no-orders").hidden = false;
  $("no-order").textContent = "None yet.";
  $("entry").hidden = false;
  become("ended", "not connected");
  $("entry").addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    $("entry").hidden = true;
    $("banner").hidden = true;
    const token = $("token").value.trim().replace(/^Bearer /, "");
    if (!token) $("no-order").textContent = $("no-fill").textContent = "Only with a token. Reload the page to enter one.";
    run(token ? () => token : undefined);
  });
}
