// What needs no gateway: books, and what is said about them. `node --test`.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Book, PeatioClient } from "../peatio-client.mjs";
import { Conversation } from "../src/conversation.mjs";
import { authenticated, client, Gateway, subscribed, until } from "./gateway.mjs";

test("prices are equal as decimals, and keep their digits", () => {
  const book = new Book("btcusd.ob");
  const asks = [["15.0", "1"], ["9", "2.50"], ["0.30000000000000001", "3"], ["1e1", "4"], ["0.3", "5"]];
  assert.equal(book.take("snap", { asks, bids: ["2", "1"], sequence: 1 }), "changed");
  assert.deepEqual(
    book.asks.map(([price]) => price),
    ["0.3", "0.30000000000000001", "9", "1e1", "15.0"],
  );
  book.take("inc", { asks: [["15.00", "0.000"], ["10.00", "7.10"]], bids: [["3", "0"], ["2.5", "1"]], sequence: "2" });
  assert.deepEqual(book.asks.slice(2), [["9", "2.50"], ["10.00", "7.10"]]);
  assert.deepEqual(book.bids, [["2.5", "1"], ["2", "1"]]);
  assert.deepEqual([book.bestAsk, book.bestBid], [["0.3", "5"], ["2.5", "1"]]);
});

test("a book is what was said of each price last", () => {
  for (let turn = 0; turn < 200; turn += 1) {
    const [book, model] = [new Book("btcusd.ob"), new Map()];
    book.take("snap", { asks: [] });
    for (let step = 0; step < 40; step += 1) {
      const [price, volume] = [Math.floor(Math.random() * 12), Math.floor(Math.random() * 3)];
      book.take("inc", { asks: [`${price}${".0".repeat(turn % 2)}`, String(volume)] });
      if (volume) model.set(price, String(volume));
      else model.delete(price);
    }
    assert.deepEqual(
      book.asks.map(([price, volume]) => [Number(price), volume]),
      [...model].sort(([one], [other]) => one - other),
    );
  }
});

test("what follows is taken and nothing else", () => {
  const book = new Book("btcusd.ob");
  assert.equal(book.take("inc", { asks: ["2", "1"], sequence: 1 }), "hole");
  book.take("snap", { asks: [["2", "1"]], sequence: 7 });
  assert.equal(book.take("inc", { asks: ["2", "0"], sequence: 7 }), "ignored");
  assert.equal(book.take("inc", { asks: ["2", "0"], sequence: 9 }), "hole");
  assert.equal(book.current, false);
  assert.deepEqual(book.asks, [["2", "1"]]);
});

test("an address has room for private streams, whatever the number of public ones", () => {
  const streams = [...Array.from({ length: 300 }, (_, number) => `market${number}.trades`), "order"];
  const { address } = new Conversation("ws://gateway.example/", { streams, token: null, byProxy: true, cursor: "c1", notices: false });
  const named = new globalThis.URL(address).searchParams.getAll("stream");
  assert.ok(named.length < 300);
  assert.ok(named.includes("order"), "its missed events come before the answer to the question for their end");
});

test("a sequence of 64 bits is exact", () => {
  const book = new Book("btcusd.ob");
  const take = (kind, sequence, more) => book.take(kind, { asks: [["2", "1"]], sequence, ...more });
  assert.equal(take("snap", "9007199254740991"), "changed");
  assert.deepEqual(["9007199254740992", "9007199254740993", "9007199254740995"].map((number) => take("inc", number)), ["changed", "changed", "hole"]);
  assert.equal(book.sequence, 9007199254740993n);
  take("snap", "1764457200000000001");
  assert.deepEqual([take("inc", "1764457200000000001"), take("inc", "1764457200000000002")], ["ignored", "changed"]);
  assert.equal(take("changes", "1764457200000000009", { previous: "1764457200000000002" }), "changed");
  take("snap", 7);
  assert.equal(book.sequence, 7);
  assert.throws(() => take("snap", 2 ** 53), /no sequence/, "Node 20 has rounded it");
  assert.throws(() => take("snap", ""), /no sequence/);
});

test("a sequence that starts again is noticed", () => {
  const book = new Book("btcusd.ob");
  const take = (sequence) => book.take("inc", { asks: ["2", "0"], sequence });
  book.take("snap", { asks: [["2", "1"]], sequence: 100 });
  assert.deepEqual([7, 3, 4, 5].map(take), ["ignored", "ignored", "ignored", "hole"]);
  assert.equal(book.current, false);
  book.take("snap", { asks: [["2", "1"]], sequence: 5 });
  assert.equal(take(6), "changed");
});

test("increments that a snapshot has overtaken are in the book", () => {
  const book = new Book("btcusd.ob");
  const take = (sequence) => book.take("inc", { asks: ["2", "1"], sequence });
  book.take("snap", { asks: [["2", "1"]], sequence: 2 });
  assert.equal(take(3), "changed");
  book.take("snap", { asks: [["2", "1"]], sequence: 9 });
  assert.deepEqual([4, 5, 6, 7, 8, 9, 10].map(take), [...Array(6).fill("ignored"), "changed"]);
});

test("a body that is not a book changes nothing", () => {
  const book = new Book("btcusd.ob");
  book.take("snap", { asks: [["2", "1"]], sequence: 1 });
  for (const body of [{ asks: 1 }, { asks: [["1"]] }, { asks: ["a", "1"] }, { asks: [["NaN", "1"]] }, { sequence: "x" }]) {
    for (const kind of ["snap", "inc"]) assert.throws(() => book.take(kind, body), TypeError);
  }
  assert.deepEqual([book.asks, book.sequence, book.current], [[["2", "1"]], 1, true]);
});

test("a gap is reported and requests a new snapshot", async () => {
  const inc = (sequence) => ({ "btcusd.ob-inc": { asks: ["2", "1"], sequence } });
  const one = client([{ "btcusd.ob-snap": { asks: [["2", "1"]], sequence: 1 } }, subscribed, inc(2), inc(4), inc(5)]);
  const told = [];
  const book = one.book("btcusd");
  one.on("book", ({ sequence }) => told.push(sequence)).on("stale", () => told.push("stale"));
  one.on("btcusd.ob-inc", ({ data }) => data.sequence === 5 && one.close());
  await one.run();
  assert.deepEqual(told, [1, 2, "stale"]);
  assert.equal(book.current, false);
  assert.deepEqual(Gateway.heard, [
    { event: "unsubscribe", streams: ["btcusd.ob-inc"] },
    { event: "subscribe", streams: ["btcusd.ob-inc"] },
  ]);
});

test("pace and depth name a stream, and others are refused", () => {
  const one = client([]);
  const streamOf = (view) => one.book("btcusd", view).stream;
  assert.equal(streamOf(), "btcusd.ob-inc");
  assert.equal(streamOf({ every: 250 }), "btcusd.ob-inc@250ms");
  assert.equal(streamOf({ depth: 20 }), "btcusd.ob-top@20");
  assert.equal(streamOf({ depth: 5, every: 1000 }), "btcusd.ob-top@5/1000ms");
  assert.equal(streamOf({ every: 0 }), "btcusd.ob-inc");
  for (const [view, says] of [[{ every: 300 }, /every: 300/], [{ depth: 3 }, /depth: 3/], [{ depth: 5, every: 0 }, /every: 0/]]) {
    assert.throws(() => one.book("btcusd", view), { name: "TypeError", message: says });
    assert.throws(() => client([], view), { name: "TypeError", message: says });
  }
});

test("changes of a view continue the book, or show a hole", () => {
  const book = new Book("btcusd.ob", "btcusd.ob-inc@250ms");
  const take = (sequence, previous) => book.take("changes", { asks: [["3", "1"]], sequence, previous });
  assert.equal(take(8, 7), "hole");
  book.take("snap", { asks: [["2", "1"]], sequence: 7 });
  assert.deepEqual([take(7, 5), take(12, 7), take(14, 9), take(20, 15)], ["ignored", "changed", "changed", "hole"]);
  assert.deepEqual([book.current, book.sequence, book.asks.length], [false, 14, 2]);
});

test("books in a view come by themselves, and keep it when the client comes back", async () => {
  for (const [view, stream, first] of [
    [{ every: 250 }, "btcusd.ob-inc@250ms", "btcusd.ob-snap"],
    [{ depth: 20 }, "btcusd.ob-top@20", "btcusd.ob-top@20"],
  ]) {
    const body = { asks: [["2", "1"]], sequence: 7, previous: 7 };
    const one = client([{ [first]: body }, subscribed, { [stream]: { ...body, sequence: 9 } }], { books: ["btcusd"], ...view });
    const [told, addresses] = [[], []];
    one.on("disconnected", () => {}).on("stale", () => told.push("stale"));
    one.on("book", ({ sequence }) => {
      told.push(sequence);
      if (sequence < 9) return;
      addresses.push(new globalThis.URL(Gateway.last.address).searchParams.getAll("stream"));
      if (addresses.length === 2) one.close();
      else Gateway.last.tell("close", { code: 1006, reason: "" });
    });
    await one.run();
    assert.deepEqual(addresses, [[stream], [stream]]);
    assert.deepEqual(told, [7, 9, "stale", 7, 9, "stale"].slice(0, told.length));
    assert.ok(told.length >= 5);
    assert.deepEqual(Gateway.heard, []);
  }
});

test("a book that does not come is reported, once on a connection", async (t) => {
  let at = 0;
  t.mock.method(performance, "now", () => at);
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const pass = async (seconds) => {
    at += seconds * 1000;
    t.mock.timers.tick(seconds * 1000);
    for (let turn = 0; turn < 20; turn += 1) await new Promise(setImmediate);
  };
  const snap = { "btcusd.ob-snap": { asks: [["2", "1"]], sequence: 7 } };
  const one = client([snap, subscribed], { books: ["btcusd", "btcusdd"], every: 250 });
  const told = [];
  one.on("error", (message) => told.push(message)).on("disconnected", () => {});
  const running = one.run();
  await pass(0);
  one.book("ethusdd", { depth: 5 });
  one.unsubscribe(one.book("dropped").stream);
  Gateway.last.tell("message", { data: JSON.stringify(subscribed) });
  await pass(0);
  await pass(9.9);
  assert.deepEqual(told, []);
  await pass(0.2);
  const late = (stream) => `${stream}: no order book within 10 s; is the name right?`;
  const both = [late("btcusdd.ob-inc@250ms"), late("ethusdd.ob-top@5")];
  assert.deepEqual(told, both);
  await pass(60);
  assert.deepEqual(told, both);
  Gateway.last.tell("close", { code: 1006, reason: "" });
  await pass(0);
  await pass(1);
  await pass(10);
  assert.deepEqual(told, [...both, ...both]);
  one.close();
  await running;
});

test("pace and depth can be changed while it runs", async () => {
  const top = { "btcusd.ob-top@20": { asks: [["2", "1"]], sequence: 3 } };
  const one = client([top, subscribed, top], { books: ["btcusd"], depth: 20 });
  const told = [];
  one.on("connected", () => assert.equal(one.book("btcusd", { every: 500 }).current, false));
  one.on("book", ({ sequence, stream }) => (told.push([sequence, stream]), sequence === 9 && one.close()));
  const running = one.run();
  await until(() => Gateway.heard.length === 2);
  for (const frame of [
    { "btcusd.ob-snap": { asks: [["2", "1"]], sequence: 7 } },
    { "btcusd.ob-inc@500ms": { asks: [["2", "2"]], sequence: 9, previous: 7 } },
  ])
    Gateway.last.tell("message", { data: JSON.stringify(frame) });
  await running;
  assert.deepEqual(Gateway.heard, [
    { event: "unsubscribe", streams: ["btcusd.ob-top@20"] },
    { event: "subscribe", streams: ["btcusd.ob-inc@500ms"] },
  ]);
  const changes = "btcusd.ob-inc@500ms";
  assert.deepEqual(told, [[3, "btcusd.ob-top@20"], [7, changes], [9, changes]]);
  const book = one.book("btcusd");
  one.unsubscribe(book.stream);
  assert.equal(book.current, false);
  assert.notEqual(one.book("btcusd"), book);
});

const listed = (more = {}) => ({ success: { message: "subscribed", streams: ["btcusd.trades"] }, ...more });
const trade = (tid, mark) => ({ "btcusd.trades": { tid }, ...(mark ? { mark } : {}) });
const stream = "btcusd.trades";

test("trades go on after the last one that was processed, and missed ones are reported", async () => {
  const scripts = [
    [listed(), trade(1), trade(2, "m2")],
    [listed({ complete: { [stream]: true } })],
    [listed({ complete: { [stream]: true } }), trade(3, "m3")],
    [listed({ complete: { [stream]: false }, marks: { [stream]: "m9" } })],
    [listed({ complete: { [stream]: true } }), trade(10)],
    [listed({ complete: { [stream]: false } }), { complete: { [stream]: false } }],
    [listed()],
  ];
  const [told, asked] = [[], []];
  const one = client(scripts.shift(), { streams: [stream] });
  one.on("missed", (missed) => told.push(missed.stream)).on(stream, ({ data, mark }) => told.push([data.tid, mark]));
  one.on("connected", () => setTimeout(() => Gateway.last.tell("close", { code: 1006, reason: "" })));
  one.on("disconnected", () => {
    asked.push(new globalThis.URL(Gateway.last.address).searchParams.get("after"));
    Gateway.script = scripts.shift();
    if (!Gateway.script) one.close();
  });
  await one.run();
  assert.deepEqual(asked, [null, ...["m2", "m2", "m3", "m9", "", ""].map((mark) => `${stream}:${mark}`)]);
  assert.deepEqual(told, [[1, null], [2, "m2"], [3, "m3"], stream, [10, null], stream, stream, stream]);
});

test("trades that are subscribed by message go on as well", async () => {
  const one = client([subscribed], { streams: ["btcusd.tickers"] });
  const told = [];
  one.on("connected", () => one.subscribe(stream)).on("missed", () => told.push("missed"));
  one.on(stream, ({ data }) => {
    told.push(data.tid);
    setTimeout(() => Gateway.last.tell("close", { code: 1006, reason: "" }));
  });
  one.on("disconnected", () => one.close());
  const running = one.run();
  await until(() => Gateway.heard.length === 1);
  assert.match(Gateway.last.address, /public\?stream=btcusd.tickers$/);
  assert.deepEqual(Gateway.heard, [{ event: "subscribe", streams: [stream], after: {} }]);
  for (const frame of [listed({ marks: { [stream]: "m1" } }), trade(2, "m2")])
    Gateway.last.tell("message", { data: JSON.stringify(frame) });
  await running;
  assert.deepEqual(told, [2]);
});

test("streams come and go while it runs", async () => {
  const one = client([subscribed, { success: { message: "Authenticated." }, resume: {} }, { trade: 1 }], {
    token: () => "any",
    streams: ["trade"],
  });
  one.on("gap", () => {}).on("connected", () => one.subscribe("btcusd.trades", "ethusd.trades"));
  one.on("event", () => (one.unsubscribe("ethusd.trades"), one.close()));
  Gateway.script.splice(2, 0, subscribed);
  await one.run();
  assert.deepEqual(Gateway.heard.slice(1), [
    { event: "subscribe", streams: ["trade"] },
    { event: "subscribe", streams: ["btcusd.trades", "ethusd.trades"], after: {} },
    { event: "unsubscribe", streams: ["ethusd.trades"] },
  ]);
  assert.throws(() => client([], { streams: ["btcusd.trades"] }).subscribe("trade"), TypeError);
});

for (const [name, frames, complete] of [
  ["complete", [authenticated, subscribed], true],
  ["of which the gateway kept too little", [{ ...authenticated, resume: { cursor: "n", complete: false } }, subscribed], false],
  ["that is cut off", [authenticated, subscribed, { resume: { cursor: "n", complete: false } }], false],
]) {
  test(`the end of a replay is reported: one ${name}`, async () => {
    const replayed = { success: { message: "unsubscribed", streams: ["order"] }, echo: "after the replay" };
    const told = [];
    const script = [subscribed, ...frames, { order: { id: 1 }, cursor: "c1" }, replayed];
    const one = client(script, { token: () => "any", streams: ["order"], cursor: "c0" });
    one.on("order", () => told.push("order")).on("gap", () => told.push("gap"));
    await one.on("resumed", (end) => (told.push(end), one.close())).run();
    assert.deepEqual(told.at(-1), { complete });
    assert.deepEqual(told.slice(0, -1).sort(), complete ? ["order"] : ["gap", "order"]);
    assert.deepEqual(Gateway.heard.at(-1), { event: "unsubscribe", streams: [], echo: "after the replay" });
  });
}

test("an event before the reply to its subscription keeps its cursor", async () => {
  const early = { order: { id: 1 }, cursor: "c1" }; // the gateway waits for the broker before it replies
  const script = [subscribed, authenticated, early, subscribed, { "btcusd.trades": 2 }];
  const one = client(script, { token: "token" });
  assert.equal((await one.next()).data.id, 1);
  assert.equal((await one.next()).data, 2);
  one.close();
  assert.equal(one.cursor, "c1");
});

test("a gap is reported before an event that precedes the reply to its subscription", async () => {
  const told = [];
  const gap = { ...authenticated, resume: { cursor: "c5", complete: false } };
  const early = { order: { id: 6 }, cursor: "c6" };
  const one = client([subscribed, gap, early], { token: "token", cursor: "c0" });
  one.on("gap", () => told.push("gap")).on("order", () => told.push("order"));
  await one.next(); // the connection may be lost now, and the next one begins at c6
  one.close();
  assert.deepEqual(told, ["gap", "order"]);
});

test("a connection that begins without a cursor has nothing to resume", async () => {
  const one = client([subscribed, authenticated, subscribed, { order: { id: 1 }, cursor: "c1" }], {
    token: () => "any",
    streams: ["order"],
  });
  await one.on("order", () => one.close()).on("resumed", () => assert.fail("nothing was missed")).run();
  assert.deepEqual(Gateway.heard.slice(1), [{ event: "subscribe", streams: ["order"] }]);
});

test("notices are requested once there is a callback", async () => {
  const plain = client([subscribed, { notice: { text: "soon" } }], { streams: ["btcusd.trades"] });
  plain.on("event", () => plain.close());
  await plain.run();
  assert.doesNotMatch(Gateway.last.address, /notices/);

  const told = [];
  const asking = client([subscribed, { notice: { text: "soon" } }], { streams: ["btcusd.trades"] });
  asking.on("event", () => told.push("event")).on("notice", (notice) => (told.push(notice), asking.close()));
  await asking.run();
  assert.match(Gateway.last.address, /notices=1/);
  assert.deepEqual(told, [{ text: "soon" }]);
});

test("notices are requested in the message with the token", async () => {
  const asking = client([subscribed, subscribed, subscribed, { notice: 1 }], { token: () => "any" });
  await asking.on("gap", () => {}).on("notice", () => asking.close()).run();
  assert.deepEqual(Gateway.heard[0], { jwt: "Bearer any", resume: true, notices: true });
});

test("a callback that fails ends the run, and its promise is waited for", async () => {
  const one = client([subscribed, { "btcusd.trades": 1 }, { "btcusd.trades": 2 }], { streams: ["btcusd.trades"] });
  const told = [];
  one.on("btcusd.trades", async ({ data }) => {
    await new Promise((resolve) => setTimeout(resolve, 1));
    told.push(data);
    if (data === 2) throw new RangeError("stumbled");
  });
  await assert.rejects(one.run(), RangeError);
  assert.deepEqual(told, [1, 2]);
  assert.equal(one.state, "disconnected");
});

test("a loop may be left and another goes on", async () => {
  const frames = [1, 2, 3, 4].map((number) => ({ "btcusd.trades": number }));
  const one = client([subscribed, ...frames], { streams: ["btcusd.trades"] });
  const taken = [];
  for (const last of [2, 4]) {
    for await (const { data } of one) {
      taken.push(data);
      if (data === last) break;
    }
  }
  one.close();
  assert.deepEqual(taken, [1, 2, 3, 4]);
  for await (const event of one) assert.fail(event.text);
});

test("a fresh token that was not looked at is shown again", async () => {
  const expiring = (seconds) => `e.${btoa(JSON.stringify({ exp: Date.now() / 1000 + seconds }))}.s`;
  const [first, second] = [expiring(0.1), expiring(60)];
  const success = { success: { message: "Authenticated." }, resume: { complete: true } };
  const later = { error: { message: "no key; retry after 1", retry_after: 1 } };
  const one = client([subscribed, success, subscribed], { token: () => (tokens().length ? second : first) });
  const tokens = () => Gateway.heard.flatMap(({ jwt }) => jwt ?? []);
  const said = [];
  one.on("error", (message) => said.push(message));
  const running = one.run();
  while (tokens().length < 3) {
    if (tokens().length === 2 && !said.length) Gateway.last.tell("message", { data: JSON.stringify(later) });
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  one.close();
  await running;
  assert.deepEqual(tokens(), [`Bearer ${first}`, `Bearer ${second}`, `Bearer ${second}`]);
  assert.ok(said.every((message) => message === "no key; retry after 1"));
});

test("a hundred and fifty books are few messages, and each is asked for once", async () => {
  const one = client([subscribed]);
  const connected = new Promise((resolve) => one.on("connected", resolve));
  const running = one.run();
  await connected;
  const streams = Array.from({ length: 150 }, (_, number) => `market${number}.ob-inc`);
  const began = Date.now();
  const allowed = () => 21 + (8 * (Date.now() - began)) / 1000; // 20 at once, then 8 a second
  for (const stream of streams) one.book(stream.replace(".ob-inc", ""));
  assert.ok(Gateway.heard.length <= allowed());
  const asked = () => Gateway.heard.flatMap(({ streams: names }) => names);
  while (asked().length < streams.length) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.deepEqual(asked(), streams);
  assert.ok(Gateway.heard.length <= allowed());
  one.close();
  await running;
});

test("streams that an address has no room for are asked for by messages", async () => {
  const streams = Array.from({ length: 900 }, (_, number) => `market${number}.trades`);
  const one = client([subscribed], { streams });
  const running = one.on("connected", () => {}).run();
  while (Gateway.heard.length < 5) await new Promise((resolve) => setTimeout(resolve, 5));
  one.close();
  await running;
  assert.ok(Gateway.last.address.length < 5000);
  const inAddress = new URLSearchParams(new globalThis.URL(Gateway.last.address).search).getAll("stream");
  assert.deepEqual([...inAddress, ...Gateway.heard.flatMap(({ streams: names }) => names)], streams);
});

test("after too many messages it comes back, later and with fewer", async () => {
  const one = client([]);
  const told = [];
  one.on("disconnected", ({ code, pause }) => (told.push([code, pause >= 5]), one.close()));
  const running = one.run();
  await new Promise((resolve) => setTimeout(resolve, 1));
  Gateway.last.tell("close", { code: 1008, reason: "too many messages" });
  await running;
  assert.deepEqual(told, [[1008, true]]);
});

test("events come while a fresh token is waited for, and it may be closed", async () => {
  const expiring = `e.${btoa(JSON.stringify({ exp: Date.now() / 1000 + 0.1 }))}.s`;
  const success = { success: { message: "Authenticated." }, resume: { complete: true } };
  const calls = [];
  const hanging = () => (calls.push(1), calls.length > 1 ? new Promise(() => {}) : expiring);
  const one = client([subscribed, success, subscribed], { token: hanging });
  const taken = [];
  one.on("order", ({ data }) => taken.push(data));
  const running = one.run();
  while (calls.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
  for (const number of [1, 2, 3]) Gateway.last.tell("message", { data: JSON.stringify({ order: number }) });
  while (taken.length < 3) await new Promise((resolve) => setTimeout(resolve, 5));
  one.close();
  await running;
  assert.deepEqual([taken, calls.length], [[1, 2, 3], 2]);

  const never = client([subscribed], { token: () => new Promise(() => {}) });
  const waiting = never.run();
  await new Promise((resolve) => setTimeout(resolve, 1));
  never.close();
  await waiting;
});

test("a token that took long is enough while the gateway looks at it", async (t) => {
  const { now } = Date;
  const expiring = `e.${btoa(JSON.stringify({ exp: Date.now() / 1000 + 0.1 }))}.s`;
  const fresh = `e.${btoa(JSON.stringify({ exp: Date.now() / 1000 + 900 }))}.s`;
  const success = { success: { message: "Authenticated." }, resume: { complete: true } };
  const calls = [];
  let give = () => {};
  const slow = () => (calls.push(1), calls.length > 1 ? new Promise((resolve) => (give = () => resolve(fresh))) : expiring);
  const one = client([subscribed, success, subscribed], { token: slow });
  const running = one.run();
  await until(() => calls.length === 2);
  t.mock.method(Date, "now", () => now() + 10_000); // the next attempt is due
  give();
  await until(() => Gateway.heard.some(({ jwt }) => jwt?.endsWith(fresh)));
  one.on("order", () => one.close());
  Gateway.last.tell("message", { data: JSON.stringify({ order: 1 }) });
  await running;
  assert.equal(calls.length, 2);
});

test("contradictory options are errors", () => {
  for (const [url, streams] of [["ws://x/private"], ["ws://x/", ["order"]], ["ws://x/"], ["https://x/public"]])
    assert.throws(() => new PeatioClient(url, { streams }), TypeError);
  assert.throws(() => client([]).on("gaps", () => {}), TypeError);
});
