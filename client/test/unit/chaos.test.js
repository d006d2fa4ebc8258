// Everything at once and by chance: mints and servers that fail, sleep, clocks that are
// set, networks that flap, and an application that closes when it likes. After each
// step it must hold what holds always.
import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "../../index.js";
import { install, listen, seeded, sessionTicket, settled } from "./world.js";

const RUNS = process.env.WSTICKET_SLOW === "1" ? 1_000 : 60, STEPS = 150;

test("by chance", async (t) => {
  let most = 0, mints = 0, opens = 0;
  for (let seed = 1; seed <= RUNS; seed++) {
    try {
      const run = await chaos(t, seed);
      most = Math.max(most, run.most);
      mints += run.mints;
      opens += run.opens;
    } catch (error) {
      error.message = `seed ${seed}: ${error.message}`;
      throw error;
    }
  }
  t.diagnostic(`${mints} mints, ${opens} opens, at most ${most} mints in ten seconds`);
  assert.ok(mints > RUNS * 5 && opens > RUNS * 2, "the runs are worth something");
});

/** One run. It throws where something does not hold that must. */
async function chaos(t, seed) {
  const world = install(t), chance = seeded(seed);
  world.random = chance;
  const one = (list) => list[Math.floor(chance() * list.length)];
  const rarely = (share) => chance() < share;

  // What goes wrong, and how often, changes from run to run.
  let faulty = one([0, 0.1, 0.3, 0.8]);
  const session = one([undefined, 6, 20, 100]), mayEnd = rarely(0.2), closes = rarely(0.5) ? 0.02 : 0;
  const codes = [1000, 1001, 1006, 1008, 1011, 1012, 1013, 3008, 4000], statuses = [0, 200, 404, 408, 429, 500, 503];
  if (mayEnd) codes.push(3000, 3003), statuses.push(400, 401, 403);

  const asked = [], tooEarly = []; // when it minted, and by how much before it may
  let notBefore = -Infinity, clockWasSet = false, last;
  const mint = (n, signal) => {
    if (!rarely(faulty)) {
      notBefore = -Infinity; // a mint that gives tickets again takes back what it asked for
      return last = { ticket: sessionTicket(n, session), expires_in: one([1, 10, 60, undefined]) };
    }
    const status = one(statuses);
    if (status === 0) throw new TypeError("Failed to fetch");
    if (status === 200) return last ?? {};
    const headers = {};
    if (rarely(0.3) && !signal.aborted) { // what was left is heard no more
      const seconds = one([1, 30, 7_200]);
      headers["retry-after"] = String(seconds);
      notBefore = Math.max(notBefore, world.clock.wall + Math.min(seconds, 3_600) * 1000);
    }
    return new Response("", { status, headers });
  };
  const getTicket = async ({ signal }) => {
    const n = asked.push(world.clock.ran);
    if (!clockWasSet && world.clock.wall < notBefore) tooEarly.push(notBefore - world.clock.wall);
    if (rarely(closes / 4)) socket.close();
    if (rarely(faulty / 4)) return new Promise(() => {});
    if (rarely(0.3)) await new Promise((done) => world.clock.setTimeout(done, chance() * (faulty ? 12_000 : 4_000)));
    return mint(n, signal);
  };
  world.serve = (s) => {
    const act = () => {
      if (s.readyState !== 0) return;
      if (rarely(faulty)) return one([() => s.refuse(), () => s.refuse("Unexpected server response: " + one(mayEnd ? [400, 401, 403] : [503])), () => s.acceptAndClose(one(codes)), () => {}])();
      s.accept();
      if (rarely(0.3)) s.message("hi");
      if (rarely(faulty / 2)) world.clock.setTimeout(() => s.end(one(codes)), chance() * 1_500); // in the middle of a takeover, perhaps
    };
    if (rarely(0.5)) world.clock.setTimeout(act, chance() * (faulty ? 12_000 : 500));
    else act();
  };
  const renew = () => one([() => Promise.resolve(), () => Promise.reject(new Error("no")), () => new Promise(() => {}), () => { throw new Error("no"); }])();

  const control = new AbortController();
  const socket = connect({ url: "wss://gw.example/ws", getTicket, signal: control.signal, giveUpAfter: one([30, Infinity]), ...rarely(0.3) && { renew } });
  const lines = listen(socket), statesAtOpen = [];
  let linesAtEnd;
  socket.addEventListener("open", () => statesAtOpen.push(socket.readyState));
  socket.addEventListener("close", (event) => { if (event.retryIn === undefined) linesAtEnd = lines.length; });
  for (const type of ["close", "open", "mintfailed", "error"]) socket.addEventListener(type, () => { if (rarely(closes / 2)) socket.close(); });

  const open = () => world.sockets.filter((s) => s.readyState === 1);
  const deeds = [
    () => world.clock.pass(chance() * 3_000), () => world.clock.pass(chance() * 3_000), () => world.clock.pass(chance() * 60_000),
    () => world.online(), () => { for (let i = 0; i < 20; i++) world.online(); },
    () => world.document.set(rarely(0.5)),
    () => world.clock.sleep(chance() * 3_600_000),
    () => { clockWasSet = true; world.clock.sleep(-chance() * 3_600_000); },
    () => one(open())?.end(one(codes)),
    () => one(open())?.message("x"),
    () => { if (rarely(closes)) socket.close(); },
    () => { if (rarely(closes)) control.abort(); },
  ];
  const holds = () => {
    const alive = world.sockets.filter((s) => s.readyState < 2);
    assert.equal(world.replayed, 0, "a ticket was shown twice");
    assert.deepEqual(tooEarly, [], "a mint before Retry-After has passed");
    assert.ok(alive.length <= 2, `${alive.length} sockets at once`);
    assert.ok(statesAtOpen.every((state) => state === 1), "an open after close()");
    assert.equal(socket.readyState === 1, open().length > 0 && socket.readyState < 2, "readyState tells whether one is open");
    if (socket.readyState === 0) assert.ok(world.clock.waiting > 0, "it neither waits nor connects: it is stuck");
    if (socket.readyState === 3) {
      assert.equal(linesAtEnd, lines.length, "the last event is the last close");
      assert.equal(alive.length, 0, "a socket is left");
    }
  };
  for (let step = 0; step < STEPS && socket.readyState !== 3; step++) {
    await one(deeds)();
    await settled();
    holds();
  }
  let most = 0;
  for (let i = 0, k = 0; k < asked.length; k++) {
    while (asked[i] < asked[k] - 10_000) i++;
    most = Math.max(most, k - i + 1);
  }
  assert.ok(most <= 20, `${most} mints in ten seconds`);

  // When all is well again it comes back, and when it is closed nothing is left.
  faulty = 0;
  if (socket.readyState < 2) {
    for (let i = 0; i < 400 && socket.readyState === 0; i++) await world.clock.pass(10_000);
    if (closes === 0 && lines.every((line) => !/^(gaveup|forbidden|unauthorized)/.test(line))) assert.equal(socket.readyState, 1, "it does not come back");
    holds();
  }
  socket.close();
  await world.clock.pass(20_000);
  holds();
  assert.equal(socket.readyState, 3);
  assert.equal(lines.filter((line) => line.endsWith("for good")).length, 1, "one last close");
  return { most, mints: asked.length, opens: statesAtOpen.length };
}
