// Point 7: timers that a hidden tab or sleep held up, and a network that came back.
import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "../../index.js";
import { install, listen, minter, settled } from "./world.js";

const URL = "wss://gw.example/ws";

/** n clients that lost their server and wait for their next attempt, each of which lies far ahead. */
async function lost(t, n, options) {
  const world = install(t, options), getTicket = minter(world);
  const sockets = Array.from({ length: n }, () => connect({ url: URL, getTicket, giveUpAfter: Infinity }));
  world.serve = (s) => s.refuse();
  await world.clock.pass(120_000);
  getTicket.asked.length = 0;
  world.serve = (s) => s.accept();
  return { world, getTicket, sockets };
}

const whenAsked = (getTicket, since) => getTicket.asked.map(({ at }) => at - since);

test("a tab that is seen again does at once, with jitter, what is overdue", async (t) => {
  const { world, getTicket, sockets } = await lost(t, 40);
  world.clock.sleep(60_000);
  const since = world.clock.ran;
  await settled();
  assert.equal(getTicket.asked.length, 0, "timers do not run while it sleeps");
  world.document.set(false);
  await world.clock.pass(2_000);
  const asked = whenAsked(getTicket, since);
  assert.equal(asked.length, 40);
  assert.ok(sockets.every((socket) => socket.readyState === 1));
  assert.ok(Math.min(...asked) < 300 && Math.max(...asked) > 1_700, "tabs that wake together are spread");
  assert.ok(asked.filter((ms) => ms < 200).length < 10);
});

test("a tab that is seen again leaves alone what is not due", async (t) => {
  const { world, getTicket, sockets } = await lost(t, 1);
  sockets[0].close();
  const socket = connect({ url: URL, getTicket });
  await settled();
  world.random = () => 0.999;
  world.last.end();
  await world.clock.pass(1_000);
  getTicket.asked.length = 0;
  world.document.set(true);
  world.document.set(false);
  await world.clock.pass(900);
  assert.equal(getTicket.asked.length, 0);
  await world.clock.pass(200);
  assert.equal(getTicket.asked.length, 1);
  assert.equal(socket.readyState, 1);
});

test("who switches tabs all the time does not put an attempt off for ever", async (t) => {
  const { world, getTicket } = await lost(t, 1);
  world.clock.sleep(60_000);
  for (let i = 0; i < 30; i++) {
    world.document.set(i % 2 === 0);
    await world.clock.pass(100);
  }
  assert.equal(getTicket.asked.length, 1);
});

test("online: all come back soon, with jitter, and with a backoff that begins anew", async (t) => {
  const { world, getTicket, sockets } = await lost(t, 40);
  const since = world.clock.ran;
  world.online();
  world.serve = (s) => s.refuse();
  const lines = listen(sockets[0]);
  await world.clock.pass(2_000);
  const asked = whenAsked(getTicket, since);
  assert.equal(asked.length >= 40, true);
  assert.ok(Math.min(...asked) < 300 && Math.max(...asked) > 1_700);
  assert.ok(lines.events.at(-1).retryIn <= 5_000, `${lines.events.at(-1).retryIn}`);
});

test("online in a hidden tab counts too", async (t) => {
  const { world, sockets } = await lost(t, 1);
  world.document.set(true);
  world.online();
  await world.clock.pass(2_000);
  assert.equal(sockets[0].readyState, 1);
});

test("online while open, or during an attempt, changes nothing", async (t) => {
  const world = install(t), getTicket = minter(world);
  const socket = connect({ url: URL, getTicket });
  await settled();
  world.online();
  await world.clock.pass(10_000);
  assert.equal(getTicket.asked.length, 1);
  assert.equal(socket.readyState, 1);

  world.serve = () => {};
  world.last.end();
  await world.clock.pass(2_000);
  assert.equal(getTicket.asked.length, 2);
  world.online();
  await world.clock.pass(2_000);
  assert.equal(getTicket.asked.length, 2);
  assert.ok(!getTicket.asked[1].signal.aborted);
  world.last.accept();
  assert.equal(socket.readyState, 1, "the attempt goes on");
});

test("online before the first attempt makes no second", async (t) => {
  const world = install(t), getTicket = minter(world);
  world.serve = () => {}; // slow
  const socket = connect({ url: URL, getTicket });
  world.online();
  await world.clock.pass(5_000);
  assert.equal(getTicket.asked.length, 1);
  world.last.accept();
  await world.clock.pass(60_000);
  assert.equal(socket.readyState, 1);
  assert.equal(world.sockets.length, 1);
});

test("a network that flaps neither hurries beyond its flaps nor keeps the client from coming back", async (t) => {
  const { world, getTicket, sockets } = await lost(t, 1);
  world.serve = (s) => s.refuse();
  for (let i = 0; i < 600; i++) { // ten times a second, for a minute
    world.online();
    await world.clock.pass(100);
  }
  assert.ok(getTicket.asked.length >= 10 && getTicket.asked.length <= 60, `${getTicket.asked.length} attempts in a minute`);
  world.serve = (s) => s.accept();
  await world.clock.pass(10_000);
  assert.equal(sockets[0].readyState, 1);
});

test("a clock that was set back by a day does not put off what online brings forward", async (t) => {
  const world = install(t), getTicket = minter(world);
  const refusals = [new Response("", { status: 503, headers: { "Retry-After": "20" } }), new Response("", { status: 503 })];
  getTicket.instead = async ({ attempt }) => refusals[attempt - 1] ?? { ticket: "t" + attempt };
  const socket = connect({ url: URL, getTicket });
  while (getTicket.asked.length < 2) await world.clock.pass(1_000);
  world.clock.sleep(-86_400_000);
  world.online();
  await world.clock.pass(3_602_000); // an hour is the longest that a mint may ask for
  assert.equal(socket.readyState, 1);
});

test("a clock that was set back when nobody asked for a pause", async (t) => {
  const { world, sockets } = await lost(t, 1);
  world.clock.sleep(-86_400_000);
  world.online();
  await world.clock.pass(2_000);
  assert.equal(sockets[0].readyState, 1);
});

test("in a worker, which has no document, online works", async (t) => {
  const { world, sockets } = await lost(t, 1, { page: false });
  world.online();
  await world.clock.pass(2_000);
  assert.equal(sockets[0].readyState, 1);
});

test("a deadline that passed in the sleep is kept after it", async (t) => {
  const world = install(t), getTicket = minter(world);
  world.serve = () => {};
  const lines = listen(connect({ url: URL, getTicket }));
  await settled();
  world.clock.sleep(60_000);
  world.document.set(false);
  await world.clock.pass(2_000);
  assert.deepEqual(lines, ["error", "close 1006"]);
});

test("a socket that ended leaves no timer and no listener", async (t) => {
  for (const how of ["close", "abort", "end"]) {
    const world = install(t), getTicket = minter(world);
    const counts = new Map();
    for (const target of [world.document, world.window]) {
      for (const [verb, by] of [["addEventListener", 1], ["removeEventListener", -1]]) {
        const was = target[verb];
        target[verb] = globalThis[verb] = function (type, ...rest) {
          counts.set(type, (counts.get(type) ?? 0) + by);
          return was.call(target, type, ...rest);
        };
        if (target === world.document) globalThis[verb] = world.window[verb].bind(world.window);
      }
    }
    const control = new AbortController();
    const socket = connect({ url: URL, getTicket, signal: control.signal });
    await settled();
    assert.deepEqual([...counts], [["visibilitychange", 1], ["online", 1]]);
    if (how === "close") socket.close();
    if (how === "abort") control.abort();
    if (how === "end") world.last.end(3003);
    await settled();
    assert.equal(socket.readyState, 3, how);
    assert.deepEqual([...counts], [["visibilitychange", 0], ["online", 0]]);
    assert.equal(world.clock.waiting, 0, how);
    world.online();
    world.document.set(false);
    await world.clock.pass(1e6);
    assert.equal(getTicket.asked.length, 1);
  }
});
