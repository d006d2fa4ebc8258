// Points 4 and 5: how long the client waits, and when it gives up.
import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "../../index.js";
import { install, listen, minter, seeded, settled } from "./world.js";

const URL = "wss://gw.example/ws";

/** The waits before each of n attempts that follow a loss, for chance that is always r. */
async function waits(t, r, n, options) {
  const world = install(t), getTicket = minter(world);
  world.random = () => r;
  world.serve = (s) => s.refuse();
  connect({ url: URL, getTicket, giveUpAfter: Infinity, ...options });
  while (world.sockets.length <= n) await world.clock.pass(10_000);
  const all = world.sockets.slice(1, n + 1).map((socket, i) => socket.at - world.sockets[i].at);
  return all;
}

test("the first retry is anywhere in the first slot: full jitter from the start", async (t) => {
  const world = install(t);
  world.random = seeded(1);
  const first = [];
  for (let i = 0; i < 400; i++) {
    const socket = connect({ url: URL, getTicket: minter(world) });
    socket.addEventListener("close", (event) => { if (event.retryIn !== undefined) { first.push(event.retryIn); socket.close(); } });
  }
  world.serve = (s) => s.refuse();
  await settled();
  assert.equal(first.length, 400);
  for (let tenth = 0; tenth < 2_000; tenth += 200) {
    const n = first.filter((ms) => ms >= tenth && ms < tenth + 200).length;
    assert.ok(n > 20 && n < 60, `${n} of 400 between ${tenth} and ${tenth + 200} ms`);
  }
});

test("slots grow by a quarter, up to the longest, and an attempt lies in each", async (t) => {
  // At the end of each slot: the waits are the slots.
  const late = await waits(t, 0.999999, 16, {});
  const want = Array.from({ length: 16 }, (_, i) => Math.min(30_000, 2_000 * 1.25 ** i));
  late.forEach((ms, i) => assert.ok(Math.abs(ms - want[i]) <= 1, `wait ${i} is ${ms}, want ${want[i]}`));
  // At the start of each: the first at once, then after the slot before.
  const early = await waits(t, 0, 8, { baseDelay: 100, maxDelay: 400 });
  const starts = [0, 100, 125, 156.25, 195.3, 244.1, 305.2, 381.5];
  early.forEach((ms, i) => assert.ok(Math.abs(ms - starts[i]) <= 1, `wait ${i} is ${ms}, want ${starts[i]}`));
});

test("an open that is followed by a close is no success", async (t) => {
  const world = install(t), getTicket = minter(world);
  world.random = () => 0.999999;
  world.serve = (s) => s.acceptAndClose(1006);
  const lines = listen(connect({ url: URL, getTicket }));
  await world.clock.pass(60_000);
  assert.ok(getTicket.asked.length <= 10, `${getTicket.asked.length} attempts in a minute`);
  const all = lines.events.filter((e) => e.type === "close").map((e) => e.retryIn);
  assert.ok(all.every((ms, i) => i === 0 || ms > all[i - 1]), `they grow: ${all}`);
});

for (const [how, use] of [
  ["ten seconds open", async (world) => world.clock.pass(10_000)],
  ["a first message", async (world) => world.last.message("hi")],
]) {
  test(`${how} reset the backoff`, async (t) => {
    const world = install(t), getTicket = minter(world);
    world.random = () => 0.999999;
    world.serve = (s) => s.refuse();
    const lines = listen(connect({ url: URL, getTicket }));
    await world.clock.pass(30_000);
    world.serve = (s) => s.accept();
    while (lines.at(-1) !== "open") await world.clock.pass(100);
    await use(world);
    world.last.end();
    assert.ok(lines.events.at(-1).retryIn <= 2_000);
  });
}

test("9.9 seconds open do not", async (t) => {
  const world = install(t), getTicket = minter(world);
  world.random = () => 0.999999;
  world.serve = (s) => s.acceptAndClose(1006);
  const lines = listen(connect({ url: URL, getTicket }));
  await world.clock.pass(10_000); // at 2, 4.5 and 7.6 s
  world.serve = (s) => s.accept();
  await world.clock.pass(1_550); // at 11.53 s
  assert.equal(lines.at(-1), "open");
  await world.clock.pass(9_900);
  world.last.end();
  assert.ok(lines.events.at(-1).retryIn > 4_000, `${lines.events.at(-1).retryIn}`);
});

const forGood = /gaveup|forbidden|unauthorized/;

/** Runs a server that does the same each time, and returns how the client ended. */
async function against(t, serve, options) {
  const world = install(t), getTicket = minter(world);
  world.serve = serve;
  const socket = connect({ url: URL, getTicket, ...options });
  const lines = listen(socket);
  await world.clock.pass(3_600_000);
  return { mints: getTicket.asked.length, end: lines.filter((line) => forGood.test(line)), lines, socket, world };
}

test("what each close code leads to", async (t) => {
  for (const [code, mints, end] of [
    [3000, 2, ["gaveup 3000"]],
    [3003, 1, ["forbidden 3003"]],
    [1008, 30, ["gaveup 1008"]],
    [4321, 30, ["gaveup 4321"]],
    [4403, 30, ["gaveup 4403"]], // of the application, whatever it reads like
    [1000, 30, ["gaveup 1000"]],
    [1006, 30, ["gaveup 1006"]],
    [1011, 30, ["gaveup 1011"]],
    [1001, Infinity, []], [1012, Infinity, []], [1013, Infinity, []], [3008, Infinity, []],
  ]) {
    const got = await against(t, (s) => s.acceptAndClose(code));
    assert.deepEqual(got.end, end, String(code));
    if (mints === Infinity) {
      assert.ok(got.mints > 100 && got.mints < 150, `${code}: ${got.mints} mints in an hour`);
      assert.equal(got.socket.readyState, 0);
    } else {
      assert.equal(got.mints, mints, String(code));
      assert.equal(got.lines.at(-1), `close ${code} for good`);
      assert.equal(got.lines.filter((line) => line.startsWith("close")).length, mints);
      assert.equal(got.socket.readyState, 3);
      assert.equal(got.world.clock.waiting, 0);
      assert.equal(got.lines.events.find((e) => forGood.test(e.type)).failures, mints);
    }
    got.socket.close();
  }
});

test("a handshake that fails is followed by error, close and backoff, and given up", async (t) => {
  const got = await against(t, (s) => s.refuse());
  assert.equal(got.mints, 30);
  assert.deepEqual(got.lines.slice(0, 4), ["error", "close 1006", "error", "close 1006"]);
  assert.deepEqual(got.lines.slice(-3), ["error", "gaveup 1006", "close 1006 for good"]);
  assert.equal((await against(t, (s) => s.refuse(), { giveUpAfter: 3 })).mints, 3);
  assert.ok((await against(t, (s) => s.refuse(), { giveUpAfter: Infinity })).mints > 100);
});

test("what is tried for ever heeds no giveUpAfter, but a handler that counts and closes", async (t) => {
  const got = await against(t, (s) => s.acceptAndClose(1001), { giveUpAfter: 3 });
  assert.ok(got.mints > 100);
  got.socket.close();
  for (const [type, instead, serve] of [["mintfailed", () => new Response("", { status: 503 })], ["close", undefined, (s) => s.acceptAndClose(1013)]]) {
    const world = install(t), getTicket = minter(world);
    getTicket.instead = instead;
    world.serve = serve;
    const socket = connect({ url: "wss://gw.example/ws", getTicket });
    socket.addEventListener(type, (event) => { if (event.failures >= 5) socket.close(); });
    await world.clock.pass(3_600_000);
    assert.deepEqual([getTicket.asked.length, socket.readyState, world.clock.waiting], [5, 3, 0]);
  }
});

test("a code that a runtime made up for a failed handshake says nothing", async (t) => {
  const bun = (s) => { s.dispatchEvent(new Event("error")); s.end(1002, "Expected 101 status code"); };
  assert.equal((await against(t, bun)).end[0], "gaveup 1006");
  const noError = (s) => s.end(3003);
  assert.equal((await against(t, noError)).end[0], "gaveup 1006");
});

test("a reset that the runtime calls code 0, as Deno does, is 1006", async (t) => {
  const got = await against(t, (s) => s.acceptAndClose(0));
  assert.deepEqual(got.end, ["gaveup 1006"]);
  assert.equal(got.lines.at(-1), "close 1006 for good");
});

test("an error without a close, as old Nodes had it, ends the attempt", async (t) => {
  const got = await against(t, (s) => s.dispatchEvent(new Event("error")));
  assert.equal(got.mints, 30);
});

test("the status of a handshake, where the runtime tells it, counts as its class", async (t) => {
  for (const [status, mints, end] of [
    [401, 2, ["gaveup 401"]], [403, 1, ["forbidden 403"]], [400, 1, ["gaveup 400"]], [404, 30, ["gaveup 404"]],
    [503, Infinity, []], [408, Infinity, []], [429, Infinity, []],
  ]) {
    const got = await against(t, (s) => s.refuse("Unexpected server response: " + status));
    assert.deepEqual(got.end, end, String(status));
    assert.ok(mints === Infinity ? got.mints > 100 : got.mints === mints, `${status}: ${got.mints} mints`);
    got.socket.close();
  }
  // A port is no status.
  const got = await against(t, (s) => s.refuse("connect ECONNREFUSED 127.0.0.1:403"));
  assert.deepEqual(got.end, ["gaveup 1006"]);
});

test("only outcomes of one kind in a row are counted", async (t) => {
  let n = 0;
  const got = await against(t, (s) => s.acceptAndClose(++n % 2 ? 3000 : 1006));
  assert.deepEqual(got.end, []);
  assert.ok(got.mints > 100);
  got.socket.close();
});

test("a gateway that refuses all in a way that can be seen is no end, for as long as one that has just started does, or one whose Redis was emptied", async (t) => {
  for (const refuse of [(s) => s.acceptAndClose(3000), (s) => s.refuse("Unexpected server response: 401")]) {
    for (let seed = 1; seed <= 60; seed++) {
      const refusing = seed <= 30 ? 5_000 : 9_000;
      const world = install(t), getTicket = minter(world);
      world.random = seeded(seed);
      const lines = listen(connect({ url: URL, getTicket }));
      await world.clock.pass(20_000);
      const restarted = world.clock.ran;
      world.serve = (s) => world.clock.ran < restarted + refusing ? refuse(s) : s.accept();
      if (seed % 2) getTicket.instead = ({ attempt }) => { // the mint was gone too
        if (attempt === 2) throw new TypeError("Failed to fetch");
        return { ticket: "t" + attempt };
      };
      world.last.end();
      const late = listen(connect({ url: URL, getTicket: minter(world, { name: "of a page that is loaded now " }) }));
      await world.clock.pass(18_000);
      assert.equal(lines.at(-1), "open");
      assert.equal(late.at(-1), "open");
      assert.ok(getTicket.asked.length <= 4);
    }
  }
});

test("an end of the session is asked about soon", async (t) => {
  const world = install(t), getTicket = minter(world);
  const lines = listen(connect({ url: URL, getTicket }));
  await world.clock.pass(10_001);
  world.last.end(3000);
  assert.ok(lines.events.at(-1).retryIn <= 2_000);
  getTicket.instead = async () => new Response("", { status: 401 });
  await world.clock.pass(4_500); // two slots
  assert.deepEqual(lines.slice(1), ["close 3000", "mintfailed 401", "mintfailed 401", "unauthorized 401", "close 1006 for good"]);
});

test("a session that ends after a while open is not counted with the refusal after it", async (t) => {
  const world = install(t), getTicket = minter(world);
  const lines = listen(connect({ url: URL, getTicket }));
  for (let i = 0; i < 5; i++) {
    await world.clock.pass(13_000);
    world.last.end(3000);
  }
  assert.deepEqual(lines.filter((line) => forGood.test(line)), []);
});

test("the end of a good connection is not the first of the attempts that end alike after it", async (t) => {
  for (const [code, attempts] of [[3000, 2], [1006, 30]]) {
    const world = install(t), getTicket = minter(world);
    const lines = listen(connect({ url: URL, getTicket }));
    await world.clock.pass(10_001);
    world.serve = (s) => s.acceptAndClose(code);
    world.last.end(code);
    getTicket.asked.length = 0;
    await world.clock.pass(3_600_000);
    assert.deepEqual([getTicket.asked.length, lines.at(-2)], [attempts, "gaveup " + code]);
    if (code === 3000) assert.ok(getTicket.asked[1].at - getTicket.asked[0].at >= 10_000, "tickets that were minted in the moment of the end may be refused");
  }
});

test("a greeting before each refusal does not keep it from being counted", async (t) => {
  const got = await against(t, (s) => { s.accept(); s.message("hello"); s.end(3000); });
  assert.deepEqual(got.end, ["gaveup 3000"]);
  assert.equal(got.mints, 2);
});

test("a URL that the browser refuses is given up, and its words are not repeated", async (t) => {
  const world = install(t), getTicket = minter(world);
  const WebSocket = class { constructor(url) { throw new DOMException(`The URL '${url}' is blocked.`, "SecurityError"); } };
  const lines = listen(connect({ url: URL, getTicket, WebSocket }));
  await world.clock.pass(1e6);
  assert.deepEqual(lines, ["error", "gaveup 400", "close 1006 for good"]);
  assert.equal(lines.events[1].error.message, "SecurityError");
  assert.equal(getTicket.asked.length, 1);
});

test("a clock that is set back does not stretch a wait", async (t) => {
  const world = install(t), getTicket = minter(world);
  world.serve = (s) => s.refuse();
  const socket = connect({ url: URL, getTicket });
  const lines = listen(socket);
  await world.clock.pass(20_000);
  world.clock.sleep(-86_400_000);
  lines.length = lines.events.length = 0;
  await world.clock.pass(60_000);
  assert.ok(lines.events.length > 0);
  for (const event of lines.events) if (event.type === "close") assert.ok(event.retryIn <= 60_000, `${event.retryIn}`);
  world.serve = (s) => s.accept();
  await world.clock.pass(61_000);
  assert.equal(socket.readyState, 1);
});
