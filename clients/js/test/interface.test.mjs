// The interface: tokens, callbacks, `next`, `request`, options, and what a page reports. `node --test`.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Book, NoToken, PeatioClient, Refused, RequestFailed } from "../peatio-client.mjs";
import { Pauses } from "../src/errors.mjs";
import { http, notOpened } from "../src/reasons.mjs";
import { Requests } from "../src/requests.mjs";
import { authenticated, client, Gateway, subscribed, token, until } from "./gateway.mjs";

const refused = { error: { message: "Authentication failed." } };
const say = (frame) => Gateway.last.tell("message", { data: JSON.stringify(frame) });
const tokens = () => Gateway.heard.flatMap(({ jwt }) => jwt ?? []);

test("a fault of the token function ends the client with it", async () => {
  await assert.rejects(client([], { token: () => undefined.token }).run(), TypeError);
  await assert.rejects(client([], { token: async () => 5 }).run(), /a token has to be a string/);
  await assert.rejects(client([], { token: () => "" }).run(), /^TypeError: the token function returned an empty text; for a visitor/);
  await assert.rejects(client([], { token: () => Promise.reject(new RangeError("session")) }).run(), /session/);
});

test("no token now is reported, and asked for again", async () => {
  const given = [() => Promise.reject(new NoToken("Barong is down")), () => "late"];
  const one = client([subscribed, authenticated, subscribed], { token: () => given.shift()() });
  const told = [];
  one.on("error", (message) => told.push(message)).on("disconnected", () => {}).on("connected", () => one.close());
  await one.run();
  assert.deepEqual(told, ["no token: Barong is down"]);
  assert.deepEqual(tokens(), ["Bearer late"]);
});

test("a token may be a text, and is sent again while the clock of the gateway may be behind", async () => {
  const early = token({ iat: 5 });
  const one = client([subscribed, refused], { token: early });
  const pauses = [];
  one.on("error", () => {}).on("disconnected", ({ pause }) => {
    pauses.push(pause);
    if (pauses.length === 1) Gateway.script = [subscribed, authenticated, subscribed];
  });
  one.on("connected", () => one.close());
  await one.run();
  assert.deepEqual(tokens(), [`Bearer ${early}`, `Bearer ${early}`]);
  assert.ok(pauses[0] >= 2);
});

test("a book knows its market", () => {
  assert.deepEqual([new Book("btcusd.ob").market, new Book("admin.btcusd.depth").market], ["btcusd", "admin.btcusd.depth"]);
});

test("errors have names of their own, for logs", () => {
  const named = [Refused, NoToken, RequestFailed].map((Kind) => String(new Kind("why")));
  assert.deepEqual(named, ["Refused: why", "NoToken: why", "RequestFailed: why"]);
});

test("a page behind a proxy that authenticates is told that its session may have ended", async (t) => {
  t.after(() => delete globalThis.location);
  class Unreachable {
    readyState = 3;
    addEventListener(name, listener) {
      if (name === "error") queueMicrotask(() => listener({}));
    }
    close() {}
  }
  globalThis.location = new URL("https://exchange.example/");
  const one = new PeatioClient("wss://exchange.example/", { WebSocket: Unreachable, authenticated: "by the proxy" });
  const reasons = [];
  one.on("disconnected", ({ reason }) => {
    reasons.push(reason);
    one.close();
  });
  await one.run();
  assert.match(reasons[0], /browsers give no reason.* does the proxy before it, if there is one, pass on `Host`\? Or has the session ended/);
});

test("a page of another host is told to check the origins that the gateway allows", (t) => {
  t.after(() => delete globalThis.location);
  globalThis.location = new URL("https://page.example/");
  const why = (address) => notOpened(address, {});
  assert.match(why("wss://exchange.example/"), /is its certificate valid, and does its API_CORS_ORIGINS allow https:\/\/page.example\?$/);
  assert.doesNotMatch(why("wss://page.example:443/api"), /API_CORS_ORIGINS/);
  assert.match(why("wss://page.example:444/api"), /API_CORS_ORIGINS/);
});

test("a redirect is not followed", () => {
  assert.equal(http(302, "", undefined), "HTTP 302: a redirect, which the client does not follow; check the address");
});

test("a silence of 0 is refused, and an infinite one sends no flood of pings", async () => {
  for (const silence of [0, -1, NaN]) assert.throws(() => client([], { silence }), /^TypeError: silence has to be more than 0 s, not/);
  const one = client([subscribed], { streams: ["btcusd.trades"], silence: Infinity });
  one.once("connected", () => setTimeout(() => one.close(), 50));
  await one.run();
  assert.deepEqual(Gateway.heard, []);
});

test("a refused text as token ends the client without a pause", async () => {
  const one = client([subscribed, refused], { token: token({ iat: -11 }) });
  const pauses = [];
  one.on("error", () => {}).on("disconnected", ({ pause }) => pauses.push(pause));
  await assert.rejects(one.run(), { name: "Refused", message: /there is no other one: the gateway's log says why/ });
  assert.deepEqual(pauses, [null]);
});

test("pauses are as long as the option says, and start again after a long connection", () => {
  const pauses = new Pauses(2);
  const longest = () => Math.max(...Array.from({ length: 200 }, () => pauses.after({ code: 1006, asked: 0 }).pause));
  assert.ok(longest() <= 2 && longest() > 0.5);
  pauses.connected(29);
  assert.ok(longest() > 0.5);
  pauses.connected(31);
  assert.ok(pauses.after({ code: 1006, asked: 0 }).pause <= 0.5);
  assert.throws(() => client([], { longestPause: 0.4 }), /longestPause has to be 0.5 s or more/);
});

test("an old token is refused at once", async () => {
  const old = token({ iat: -11 });
  const one = client([subscribed, refused], { token: () => old });
  one.on("error", () => {}).on("disconnected", () => {});
  await assert.rejects(one.run(), (error) => error instanceof Refused && /gave the same one again: the gateway's log says why/.test(error.message));
  assert.equal(tokens().length, 1);
});

test("an expired token is refused with its time and what to do", async () => {
  const exp = 1_000_000.5 - Date.now() / 1000;
  const old = token({ iat: exp - 900, exp });
  const one = client([subscribed, refused], { token: () => old });
  one.on("error", () => {}).on("disconnected", () => {});
  await assert.rejects(one.run(), {
    name: "Refused",
    message:
      "the gateway refuses this token, and `token` gave the same one again: it expired at 1970-01-12 13:46:40 UTC; " +
      "give a function that returns a new token",
  });
});

test("a connection that the proxy authenticates has its streams and cursor in the address", async () => {
  const answer = { success: { streams: ["order", "trade"] }, resume: { cursor: "c0", complete: true } };
  const options = { authenticated: "by the proxy", WebSocket: Gateway };
  Gateway.script = [answer, { order: { id: 1 }, cursor: "c1" }];
  Gateway.heard = [];
  const one = new PeatioClient("ws://gateway.example/api/private", options);
  assert.equal((await one.next()).data.id, 1);
  const { pathname, search } = new URL(Gateway.last.address);
  assert.deepEqual([pathname, search], ["/api/private", "?stream=order&stream=trade&resume=1"]);
  Gateway.last.tell("close", { code: 1012, reason: "" });
  one.on("disconnected", () => {}).on("connected", () => one.close());
  assert.equal(await one.next(), undefined);
  assert.match(Gateway.last.address, /&resume=c1$/);
  assert.deepEqual(Gateway.heard, []);
  Gateway.script = [subscribed];
  const stranger = new PeatioClient("ws://gateway.example/", options).on("disconnected", () => {});
  await assert.rejects(stranger.run(), /log in again/);
});

test("a function gives the headers of each handshake, and may be refused twice", async () => {
  const answer = { success: { streams: ["order"] }, resume: { cursor: "c0", complete: true } };
  const given = [];
  class Signed extends Gateway {
    constructor(address, protocols, { headers }) {
      super(address);
      given.push(headers["X-Auth-Nonce"]);
    }
  }
  let nonce = 0;
  const headers = async () => {
    nonce += 1;
    if (nonce === 2) throw new NoToken("Barong is down");
    return { "X-Auth-Nonce": nonce };
  };
  const options = { authenticated: "by the proxy", WebSocket: Signed, headers, streams: ["order"] };
  const errors = [];
  Gateway.script = [subscribed];
  const one = new PeatioClient("ws://gateway.example/", options).on("error", (message) => errors.push(message));
  one.on("disconnected", () => given.length === 2 && (Gateway.script = [answer])).on("connected", () => one.close());
  await one.run();
  assert.deepEqual([given, errors], [[1, 3, 4], ["no token: Barong is down"]]);
  Gateway.script = [subscribed];
  const stranger = new PeatioClient("ws://gateway.example/", options).on("disconnected", () => {});
  await assert.rejects(stranger.run(), /sign each handshake with a valid API key/);
  assert.deepEqual(given.slice(3), [5, 6, 7]);
  const wrong = { ...options, headers: () => ({ authorization: "x" }) };
  await assert.rejects(new PeatioClient("ws://gateway.example/", wrong).run(), /the option token/);
});

test("a function for headers that does not end is given up, and by close()", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let calls = 0;
  const headers = () => new Promise(() => (calls += 1));
  const one = new PeatioClient("ws://gateway.example/", { WebSocket: Gateway, headers, streams: ["btcusd.trades"] });
  const reported = new Promise((resolve) => one.on("error", resolve));
  const ended = new Promise((resolve) => one.on("disconnected", resolve));
  const running = one.run();
  const asksAgain = async () => {
    while (one.state !== "connecting") await new Promise(setImmediate);
    await new Promise(setImmediate);
  };
  await asksAgain();
  t.mock.timers.tick(30_000);
  assert.equal(await reported, "no token: no headers within 30 s");
  await ended;
  await new Promise(setImmediate);
  t.mock.timers.tick(1000);
  await asksAgain();
  assert.equal(calls, 1, "a call that takes longer continues");
  one.close();
  await running;
});

test("headers that come during the pause are those of the next handshake", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const given = [];
  const headers = () => new Promise((resolve) => given.push(resolve));
  const one = client([subscribed], { headers, streams: ["btcusd.trades"] });
  const paused = new Promise((resolve) => one.on("disconnected", resolve));
  const running = one.on("error", () => {}).run();
  while (!given.length) await new Promise(setImmediate);
  t.mock.timers.tick(30_000);
  await paused;
  given[0]({});
  await new Promise(setImmediate);
  t.mock.timers.tick(1000);
  while (one.state !== "connected" && given.length < 2) await new Promise(setImmediate);
  one.close();
  await running;
  assert.equal(given.length, 1);
});

test("callbacks can be removed, by off, by once and by a signal", async () => {
  const frames = [1, 2, 3].map((number) => ({ "btcusd.trades": number }));
  const one = client([subscribed, ...frames], { streams: ["btcusd.trades"] });
  const [told, controller] = [[], new AbortController()];
  const always = ({ data }) => told.push(`always ${data}`);
  one.once("event", ({ data }) => told.push(`once ${data}`)).on("event", always);
  one.on("event", ({ data }) => told.push(`signal ${data}`), { signal: controller.signal });
  await one.next();
  controller.abort();
  await one.next();
  one.off("event", always).off("event").off("event");
  await one.next();
  one.close();
  assert.deepEqual(told, ["once 1", "always 1", "signal 1", "always 2"]);
});

test("a callback that fails is not used up", async () => {
  const one = client([subscribed, { "btcusd.trades": 1 }], { streams: ["btcusd.trades"] });
  const told = [];
  one.once("event", () => {
    told.push(1);
    if (told.length === 1) throw new RangeError("stumbled");
  });
  await assert.rejects(one.next(), RangeError);
  await one.next();
  one.close();
  assert.equal(told.length, 2);
});

test("next gives up after a time, and loses nothing", async () => {
  const one = client([subscribed], { streams: ["btcusd.trades"] });
  await assert.rejects(one.next(0.01), { name: "TimeoutError", message: "no event within 0.01 s" });
  await assert.rejects(one.next(0), { name: "TimeoutError" });
  say({ "btcusd.trades": 1 });
  say({ "btcusd.trades": 2 });
  assert.equal((await one.next(30)).data, 1);
  for await (const { data } of one) {
    assert.equal(data, 2);
    break;
  }
  one.close();
  assert.equal(await one.next(), undefined);
});

test("a signal closes the client", async () => {
  const controller = new AbortController();
  const one = client([subscribed], { streams: ["btcusd.trades"], signal: controller.signal });
  one.on("connected", () => controller.abort());
  await one.run();
  assert.equal(one.state, "closed");
  assert.equal(client([], { signal: AbortSignal.abort() }).state, "closed");
});

test("answers come to a callback, and events follow in order", async () => {
  const one = client([subscribed], { streams: ["btcusd.trades"] });
  await assert.rejects(one.request("double"), /not connected/);
  const [answers, taken] = [[], []];
  one.on("event", ({ data }) => taken.push(data)).once("connected", async () => {
    const asked = [one.request("double", { number: 4 }), one.request("fail"), one.request("lost")];
    await assert.rejects(one.request("silent", {}, { timeout: 0.01 }), { name: "TimeoutError" });
    await assert.rejects(one.request("none", {}, { signal: AbortSignal.abort(new RangeError("over")) }), RangeError);
    await assert.rejects(one.request("subscribe"), TypeError);
    const [double, fail] = Gateway.heard;
    assert.deepEqual(double, { number: 4, event: "double", echo: 1 });
    const patient = one.request("patient", {}, { timeout: Number.MAX_SAFE_INTEGER });
    await new Promise((resolve) => setTimeout(resolve, 20));
    say({ done: 1, echo: Gateway.heard.at(-1).echo });
    say({ "btcusd.trades": 1 });
    say({ error: "no such market", echo: fail.echo });
    say({ success: 8, echo: double.echo });
    say({ price: 5, echo: Gateway.heard[3].echo }); // to `silent`, which is over
    say({ "btcusd.trades": 2 });
    answers.push(await asked[0], await patient);
    await assert.rejects(asked[1], (error) => error instanceof RequestFailed && error.message === "no such market");
    Gateway.last.tell("close", { code: 1012, reason: "" });
    await assert.rejects(asked[2], /ended before the answer/);
  });
  one.on("disconnected", () => one.close());
  await one.run();
  assert.deepEqual(answers, [{ success: 8 }, { done: 1 }]);
  assert.deepEqual(taken, [1, 2]);
});

test("few numbers of late answers are kept", async () => {
  const requests = new Requests();
  const turn = () => 0;
  const asked = Array.from({ length: 101 }, () => requests.ask(() => {}, turn, "any", {}, { timeout: 0 }));
  await Promise.allSettled(asked);
  const taken = [1, 2, 101].map((echo) => requests.take(JSON.stringify({ done: 1, echo })));
  assert.deepEqual(taken, [false, true, true]);
});

test("a request fails at once on a connection that ended within the callback", async () => {
  const one = client([subscribed], { streams: ["btcusd.trades"] });
  one.once("connected", async () => {
    Gateway.last.tell("close", { code: 1012, reason: "" });
    await assert.rejects(one.request("double", {}, { timeout: 5 }), /not connected/);
    assert.deepEqual(Gateway.heard, []);
  });
  one.on("disconnected", () => one.close());
  await one.run();
});

test("trades continue after the last one if the gateway never stopped sending them", async () => {
  const listed = { success: { message: "subscribed", streams: ["btcusd.trades"] } };
  const one = client([{ ...listed, marks: { "btcusd.trades": "m1" } }], { streams: ["btcusd.trades"] });
  const ended = [];
  one.on("missed", () => one.close()).on("disconnected", (end) => ended.push(end)).once("connected", async () => {
    for (let number = 0; number < 20; number += 1) one.request("any", {}, { timeout: 0.01 }).catch(() => {});
    one.unsubscribe("btcusd.trades"); // the pace does not allow it yet
    one.subscribe("btcusd.trades");
    say({ "btcusd.trades": 1, mark: "m2" });
    Gateway.script = [listed];
    Gateway.last.tell("close", { code: 1006, reason: "" });
  });
  await one.run();
  assert.deepEqual(Gateway.heard.filter(({ event }) => event !== "any"), []);
  assert.equal(new globalThis.URL(Gateway.last.address).searchParams.get("after"), "btcusd.trades:m2");
});

test("requests keep the pace of the client's other messages", async (t) => {
  let at = 0;
  t.mock.method(performance, "now", () => at);
  const one = client([subscribed], { streams: ["btcusd.trades"] });
  const running = one.run();
  await until(() => one.state === "connected");
  const lost = Array.from({ length: 32 }, () => one.request("double").catch(({ message }) => message));
  assert.equal(Gateway.heard.length, 20);
  await assert.rejects(one.request("late", {}, { timeout: 0.01 }), { name: "TimeoutError" });
  at += 1000;
  await until(() => Gateway.heard.length === 28);
  one.subscribe("btcusd.tickers");
  at += 250;
  await until(() => Gateway.heard.length === 30);
  one.close();
  await running;
  assert.equal(Gateway.heard.length, 30);
  const sent = Gateway.heard.filter(({ event }) => event === "double").length;
  const reasons = (await Promise.all(lost)).map((message) => message.split(";")[0]).sort();
  const answer = "the connection ended before the answer";
  assert.deepEqual(reasons, [...Array(sent).fill(answer), ...Array(32 - sent).fill("the connection ended before the request was sent")]);
});

test("debug tells the course, and no secret", async () => {
  const lines = [];
  const url = "ws://gateway.example/?key=secret";
  Gateway.script = [subscribed, authenticated, subscribed, { order: { id: 424242 }, cursor: "c1" }];
  const one = new PeatioClient(url, { token: "secret", WebSocket: Gateway, debug: (line) => lines.push(line) });
  await one.next();
  Gateway.last.tell("close", { code: 1012, reason: "restart" });
  await assert.rejects(one.next(0), { name: "TimeoutError" });
  one.close();
  assert.deepEqual(lines.slice(0, 3), [
    "peatio-client: connecting to gateway.example",
    "peatio-client: connected, 0 streams",
    "peatio-client: event of order, 37 characters",
  ]);
  assert.match(lines[3], /^peatio-client: disconnected: 1012 restart; next attempt in/);
  assert.doesNotMatch(lines.join(), /secret|424242/);
});

/** A page: events of the network and of the document. */
function page() {
  const [network, document] = [new EventTarget(), new EventTarget()];
  document.visibilityState = "visible";
  const { addEventListener, removeEventListener } = globalThis;
  globalThis.addEventListener = network.addEventListener.bind(network);
  globalThis.removeEventListener = network.removeEventListener.bind(network);
  globalThis.document = document;
  return {
    network: (name) => network.dispatchEvent(new Event(name)),
    document: (name) => document.dispatchEvent(new Event(name)),
    leave: () => Object.assign(globalThis, { addEventListener, removeEventListener, document: undefined }),
  };
}

test("a page that is offline disconnects, and connects at once when it is back", async () => {
  const there = page();
  const ends = [];
  let connections = 0;
  const one = client([subscribed], { streams: ["btcusd.trades"] });
  one.on("connected", () => (connections += 1)).on("disconnected", (end) => ends.push(end));
  const running = one.run();
  await until(() => connections === 1);
  for (const [away, back] of [["offline", () => there.network("online")], ["offline", () => there.document("visibilitychange")]]) {
    const { random } = Math;
    Math.random = () => 1; // the longest pauses
    const before = connections;
    there.network(away);
    await until(() => ends.length === before);
    Math.random = random;
    back();
    await until(() => connections === before + 1);
  }
  assert.deepEqual(ends.map(({ reason, pause }) => [reason, pause]), Array(2).fill(["the browser is offline", 0.5]));
  one.close();
  await running;
  there.leave();
});

test("a page that comes back asks whether the connection is there", async (t) => {
  const there = page();
  const asked = [];
  t.mock.method(Gateway.prototype, "send", (text) => asked.push(text));
  const one = client([subscribed], { streams: ["btcusd.trades"] });
  const running = one.run();
  await until(() => one.state === "connected");
  there.document("resume");
  assert.deepEqual(asked, ["ping"]);
  Gateway.last.tell("message", { data: "pong" });
  one.close();
  await running;
  there.network("online");
  assert.deepEqual(asked, ["ping"], "a closed client does not listen");
  there.leave();
});

test("a page that comes back just before the next ping gives that its time, too", async (t) => {
  t.mock.timers.enable({ apis: ["setInterval", "setTimeout"] });
  const there = page();
  const asked = [];
  t.mock.method(Gateway.prototype, "send", (text) => asked.push(text));
  const one = client([subscribed], { streams: ["btcusd.trades"], silence: 15 });
  const connected = new Promise((resolve) => one.on("connected", resolve));
  const ends = [];
  one.on("disconnected", ({ reason }) => ends.push(reason));
  const running = one.run();
  await connected;
  there.document("resume");
  Gateway.last.tell("message", { data: "pong" });
  t.mock.timers.tick(5000); // the next ping, and the end of the time for the first one
  assert.deepEqual(asked, ["ping", "ping"]);
  await new Promise(setImmediate);
  assert.deepEqual(ends, []);
  one.close();
  await running;
  there.leave();
});

test("a delay that the gateway asked for is not cut short", async () => {
  const there = page();
  let ends = 0;
  const one = client([subscribed], { streams: ["btcusd.trades"] });
  one.on("disconnected", () => (ends += 1));
  const running = one.run();
  await until(() => one.state === "connected");
  Gateway.last.tell("close", { code: 1012, reason: "restart; retry after 60" });
  await until(() => ends === 1);
  const { last } = Gateway;
  there.network("online");
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(Gateway.last, last);
  one.close();
  await running;
  there.leave();
});

test("options that contradict each other", () => {
  for (const [options, message] of [
    [{ token: 5 }, /a string or a function/],
    [{ token: "Bearer x" }, /leave out `Bearer`/],
    [{ token: "" }, /^TypeError: the token is an empty text/],
    [{ token: "x", authenticated: "by the proxy" }, /not by both/],
    [{ authenticated: "somehow" }, /by the proxy/],
    [{ token: "x", headers: { Authorization: "x" } }, /the option token/],
  ])
    assert.throws(() => new PeatioClient("ws://gateway.example/", options), message);
});
