// Points 1, 2, 3 and 6: a ticket for each attempt, none that came late or old, and what
// a failed mint leads to.
import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "../../index.js";
import { install, listen, minter, settled } from "./world.js";

const URL = "wss://gw.example/ws";

test("each attempt mints: the first, after a loss, on online, and after a hidden tab woke", async (t) => {
  const world = install(t), getTicket = minter(world);
  const socket = connect({ url: URL, getTicket });
  await settled();
  assert.deepEqual(getTicket.asked.map((a) => a.attempt), [1]);
  assert.ok(getTicket.asked[0].signal instanceof AbortSignal);

  world.last.end();
  await world.clock.pass(2_000);
  assert.equal(getTicket.asked.length, 2, "after a loss");

  world.serve = (s) => s.refuse();
  world.last.end();
  await world.clock.pass(60_000);
  const asked = getTicket.asked.length;
  world.serve = (s) => s.accept();
  world.online();
  await world.clock.pass(2_000);
  assert.equal(getTicket.asked.length, asked + 1, "on online");
  assert.equal(socket.readyState, 1);

  world.last.end();
  world.clock.sleep(60_000);
  world.document.set(false);
  await world.clock.pass(2_000);
  assert.equal(getTicket.asked.length, asked + 2, "when the tab is seen again");
  assert.deepEqual(getTicket.asked.map((a) => a.attempt), getTicket.asked.map((_, i) => i + 1));
  assert.equal(world.sockets.length, asked + 2);
  assert.equal(world.replayed, 0);
});

test("ticketUrl gets a POST, with cookies, which the attempt's end aborts", async (t) => {
  const world = install(t);
  const calls = [];
  world.fetch = async (url, init) => {
    calls.push([url, init]);
    return Response.json({ ticket: "a.b-c_d", expires_in: 10, expires_at: 1795219210 });
  };
  connect({ url: URL + "?room=1", ticketUrl: "/ticket" });
  await settled();
  const [[url, { method, credentials, signal }]] = calls;
  assert.deepEqual([calls.length, url, method, credentials], [1, "/ticket", "POST", "include"]);
  assert.equal(world.last.url, URL + "?room=1&ticket=a.b-c_d");

  world.last.end(1006);
  assert.ok(signal.aborted);
});

test("a mint that comes after close() opens nothing", async (t) => {
  const world = install(t), getTicket = minter(world);
  const answer = Promise.withResolvers?.() ?? (() => { const p = {}; p.promise = new Promise((r) => { p.resolve = r; }); return p; })();
  getTicket.instead = () => answer.promise;
  const socket = connect({ url: URL, getTicket });
  const lines = listen(socket);
  await settled();
  socket.close();
  assert.equal(socket.readyState, 2);
  await settled();
  assert.ok(getTicket.asked[0].signal.aborted);
  assert.deepEqual(lines, ["close 1006 for good"]);
  assert.equal(socket.readyState, 3);
  answer.resolve({ ticket: "late", expires_in: 10 });
  await world.clock.pass(100_000);
  assert.equal(world.sockets.length, 0);
  assert.deepEqual(lines, ["close 1006 for good"]);
});

test("a mint that comes after a newer attempt began opens nothing", async (t) => {
  const world = install(t), getTicket = minter(world);
  const answers = [];
  world.random = () => 0.999;
  getTicket.instead = () => new Promise((resolve) => answers.push(resolve));
  const socket = connect({ url: URL, getTicket, timeout: 1_000 });
  const lines = listen(socket);
  await world.clock.pass(1_000);
  assert.deepEqual(lines, ["mintfailed 0"]);
  assert.match(lines.events[0].error.message, /too long/);
  await world.clock.pass(2_000);
  assert.equal(answers.length, 2);
  answers[1]({ ticket: "second", expires_in: 10 });
  await settled();
  answers[0]({ ticket: "first", expires_in: 10 });
  await settled();
  assert.deepEqual(world.sockets.map((s) => s.ticket), ["second"]);
  assert.equal(socket.readyState, 1);
});

test("who closes at once, as StrictMode does, mints nothing", async (t) => {
  const world = install(t), getTicket = minter(world);
  const first = connect({ url: URL, getTicket });
  first.close();
  connect({ url: URL, getTicket });
  await world.clock.pass(100_000);
  assert.equal(getTicket.asked.length, 1);
  assert.equal(first.readyState, 3);
});

test("mint 401: once more, then unauthorized, and the end", async (t) => {
  const world = install(t), getTicket = minter(world);
  getTicket.instead = async () => new Response('{"type":"invalid_ticket","status":401}', { status: 401 });
  const socket = connect({ url: URL, getTicket });
  const lines = listen(socket);
  await settled();
  assert.deepEqual(lines, ["mintfailed 401"]);
  assert.ok(lines.events[0].retryIn >= 0 && lines.events[0].retryIn <= 2_000);
  await world.clock.pass(1e6);
  assert.deepEqual(lines, ["mintfailed 401", "mintfailed 401", "unauthorized 401", "close 1006 for good"]);
  assert.equal(getTicket.asked.length, 2);
  assert.equal(socket.readyState, 3);
  assert.equal(world.clock.waiting, 0);
});

test("mint 401 once, as while a token is refreshed, is no end", async (t) => {
  const world = install(t), getTicket = minter(world);
  getTicket.instead = async ({ attempt }) => attempt === 1 ? { type: "invalid_ticket", status: 401 } : { ticket: "good" };
  const lines = listen(connect({ url: URL, getTicket }));
  await world.clock.pass(3_000);
  assert.deepEqual(lines, ["mintfailed 401", "open"]);
});

for (const [status, event] of [[403, "forbidden"], [400, "gaveup"]]) {
  test(`mint ${status}: ${event} at once`, async (t) => {
    const world = install(t), getTicket = minter(world);
    getTicket.instead = async () => new Response("", { status });
    const lines = listen(connect({ url: URL, getTicket }));
    await world.clock.pass(1e6);
    assert.deepEqual(lines, ["mintfailed " + status, `${event} ${status}`, "close 1006 for good"]);
  });
}

for (const [status, header, least] of [[429, "7", 7_000], [503, "7", 7_000], [503, "Sun, 21 Nov 2026 00:00:30 GMT", 30_000]]) {
  test(`mint ${status} with Retry-After ${header}: not before, and not all in that second`, async (t) => {
    const world = install(t), getTicket = minter(world);
    world.clock.wall = Date.UTC(2026, 10, 21);
    getTicket.instead = async () => new Response("", { status, headers: { "Retry-After": header } });
    const moments = [];
    for (let i = 0; i < 50; i++) {
      const socket = connect({ url: URL, getTicket });
      socket.addEventListener("mintfailed", (event) => { moments.push(event.retryIn); socket.close(); });
    }
    await settled();
    assert.equal(moments.length, 50);
    assert.ok(Math.min(...moments) >= least && Math.max(...moments) <= least + 2_000, `${Math.min(...moments)} to ${Math.max(...moments)}`);
    assert.ok(Math.max(...moments) - Math.min(...moments) > 1_000, "they are spread");

    // An online in between does not lead to a breach of what the server asked for.
    getTicket.asked.length = 0;
    connect({ url: URL, getTicket });
    await settled();
    world.online();
    await world.clock.pass(least - 1);
    assert.equal(getTicket.asked.length, 1);
    await world.clock.pass(2_001);
    assert.equal(getTicket.asked.length, 2);
  });
}

test("a Retry-After of no sense neither hurries nor stops for ever", async (t) => {
  for (const header of ["99999999999", "-5", "soon", "0", "", "Thu, 01 Jan 1970 00:00:00 GMT"]) {
    const world = install(t), getTicket = minter(world);
    getTicket.instead = async () => new Response("", { status: 429, headers: { "Retry-After": header } });
    const lines = listen(connect({ url: URL, getTicket }));
    await settled();
    const { retryIn } = lines.events[0];
    assert.ok(retryIn > 0 && retryIn <= (header.startsWith("9") ? 3_602_000 : 2_000), `${header}: ${retryIn}`);
    assert.ok(header.startsWith("9") === retryIn >= 3_600_000, `${header}: ${retryIn}`);
  }
});

test("429, 503, 500, 408 and a network that is down are no reasons to give up", async (t) => {
  for (const status of [429, 503, 500, 408, 0]) {
    const world = install(t), getTicket = minter(world);
    getTicket.instead = async () => { if (status === 0) throw new TypeError("Failed to fetch"); return new Response("", { status }); };
    const socket = connect({ url: URL, getTicket });
    const lines = listen(socket);
    await world.clock.pass(3_600_000);
    assert.ok(getTicket.asked.length > 100, `${status}: ${getTicket.asked.length} mints`);
    assert.ok(lines.every((line) => line === "mintfailed " + status));
    assert.equal(socket.readyState, 0);
    getTicket.instead = undefined;
    await world.clock.pass(60_000);
    assert.equal(socket.readyState, 1);
    socket.close();
  }
});

test("what getTicket throws tells the status, in its own words or those of axios and ky", async (t) => {
  const errors = {
    own: Object.assign(new Error("no"), { status: 503, retryAfter: 9 }),
    response: new Response("", { status: 503, headers: { "retry-after": "9" } }),
    axios: Object.assign(new Error("no"), { response: { status: 503, headers: new Headers({ "retry-after": "9" }) } }),
  };
  for (const [name, error] of Object.entries(errors)) {
    const world = install(t), getTicket = minter(world);
    getTicket.instead = () => { throw error; };
    const lines = listen(connect({ url: URL, getTicket }));
    await settled();
    assert.deepEqual(lines, ["mintfailed 503"], name);
    assert.equal(lines.events[0].error, error);
    assert.ok(lines.events[0].retryIn >= 9_000);
  }
});

test("an answer without a ticket, and a ticket that was used, are refused and given up in the end", async (t) => {
  const answers = [
    [() => undefined, /no new ticket/], [() => ({}), /no new ticket/], [() => "t1", /no new ticket/], [() => ({ ticket: "" }), /no new ticket/],
    [() => ({ ticket: ["a"] }), /no new ticket/], [() => ({ ticket: 7 }), /no new ticket/], [() => ({ ticket: Symbol("a") }), /no new ticket/],
    [() => ({ ticket: "a b" }), /no new ticket/], [() => ({ ticket: "a&b=c" }), /no new ticket/], [() => new Response("<html>"), /no new ticket/],
  ];
  for (const [answer, text] of answers) {
    const world = install(t), getTicket = minter(world);
    getTicket.instead = async () => answer();
    const lines = listen(connect({ url: URL, getTicket }));
    await world.clock.pass(3_600_000);
    assert.equal(world.sockets.length, 0);
    assert.deepEqual(lines.slice(-3), ["mintfailed 200", "gaveup 200", "close 1006 for good"]);
    assert.equal(getTicket.asked.length, 30);
    assert.match(lines.events[0].error.message, text);
  }

  const world = install(t), getTicket = minter(world);
  getTicket.instead = async () => ({ ticket: "cached", expires_in: 10 });
  const lines = listen(connect({ url: URL, getTicket }));
  await settled();
  world.last.end();
  await world.clock.pass(3_600_000);
  assert.equal(world.sockets.length, 1, "it was shown once");
  assert.match(lines.events.at(-3).error.message, /no new ticket/);
  assert.deepEqual(lines.slice(-3), ["mintfailed 200", "gaveup 200", "close 1006 for good"]);
});

test("a ticket is not shown again, even when others came between", async (t) => {
  const world = install(t), getTicket = minter(world);
  world.serve = (s) => s.refuse();
  getTicket.instead = async ({ attempt }) => ({ ticket: "of-cache-" + attempt % 3 });
  connect({ url: URL, getTicket, giveUpAfter: Infinity });
  await world.clock.pass(600_000);
  assert.ok(getTicket.asked.length > 20);
  assert.deepEqual(world.sockets.map((s) => s.ticket), ["of-cache-1", "of-cache-2", "of-cache-0"]);
});

test("which tickets were shown is not remembered for ever", async (t) => {
  const world = install(t), getTicket = minter(world);
  world.serve = (s) => s.refuse();
  getTicket.instead = async ({ attempt }) => ({ ticket: "t" + attempt % 101 });
  connect({ url: URL, getTicket, giveUpAfter: Infinity });
  await world.clock.pass(2 * 3_600_000);
  assert.ok(getTicket.asked.length > 200);
  assert.equal(world.sockets.length, getTicket.asked.length, "the hundred and first is as good as new: it has expired");
});

test("what a mint answers beside the ticket, or of another kind than it should, does no harm", async (t) => {
  for (const [more, life] of [
    [{ expires_in: null }, 10], [{ expires_in: 0 }, 10], [{ expires_in: -3 }, 10], [{ expires_in: NaN }, 10], [{ expires_in: "soon" }, 10], [{ expires_in: {} }, 10],
    [{ expires_in: "4" }, 4], [{ expires_in: 4.5 }, 4.5], [{ expires_in: 1e300 }, 10], [{ expires_in: Infinity }, 10],
    [{ json: true }, 10], [{ ok: false }, 10], [{ status: "ok" }, 10], [{ status: 503 }, 10], [{ since: 5, attempt: 9, error: 1, minting: true, wait: 1e9 }, 10],
    [{ url: null }, 10], [{ url: undefined }, 10], [{ headers: null }, 10],
  ]) {
    const world = install(t), getTicket = minter(world);
    world.serve = () => {};
    getTicket.instead = async () => ({ ticket: "t", ...more });
    const lines = listen(connect({ url: URL, getTicket }));
    await settled();
    assert.deepEqual(world.sockets.map((s) => s.url), [URL + "?ticket=t"], JSON.stringify(more));
    await world.clock.pass(life * 1000 - 1);
    assert.deepEqual(lines, [], JSON.stringify(more));
    await world.clock.pass(1);
    assert.deepEqual(lines, ["error", "close 1006"], JSON.stringify(more));
  }
  for (const [answer, status] of [
    [null, 200], ["text", 200], [7, 200], [[], 200], [{ ticket: null }, 200], [{ ticket: {} }, 200], [{ ticket: ["a", "b"] }, 200], [{ ticket: true, status: "valueOf" }, 200],
    [{ status: "ok", data: { ticket: "t" } }, 200], [{ status: "valueOf" }, 200], [{ status: 0 }, 200], [{ status: null }, 200], [{ status: "503" }, 503],
  ]) {
    const world = install(t), getTicket = minter(world);
    getTicket.instead = async () => answer;
    const lines = listen(connect({ url: URL, getTicket, giveUpAfter: 2 }));
    await settled();
    assert.deepEqual([lines[0], lines.events[0].status], ["mintfailed " + status, status], JSON.stringify(answer));
  }
  for (const status of ["error", {}, "valueOf", null]) { // of what getTicket throws
    const world = install(t), getTicket = minter(world);
    getTicket.instead = async () => { throw { status, retryAfter: {} }; };
    const lines = listen(connect({ url: URL, getTicket }));
    await world.clock.pass(3_600_000);
    assert.ok(getTicket.asked.length > 100 && lines.every((line) => line === "mintfailed 0"), String(status));
  }
});

test("a url of the mint that is none is given up at once", async (t) => {
  for (const url of ["https://", "wss://[", "ws://a b/"]) {
    const world = install(t), getTicket = minter(world);
    getTicket.instead = async () => ({ ticket: "t", url });
    const lines = listen(connect({ url: URL, getTicket }));
    await world.clock.pass(1e6);
    assert.deepEqual(lines, ["error", "gaveup 400", "close 1006 for good"], url);
    assert.deepEqual([getTicket.asked.length, world.sockets.length], [1, 0]);
    assert.ok(!JSON.stringify(lines.events).includes("t="));
  }
});

test("Retry-After outlives what was left: a late failure does not shorten it", async (t) => {
  const world = install(t), getTicket = minter(world);
  const fail = [];
  getTicket.instead = ({ attempt }) => attempt === 1 ? new Promise((_, no) => fail.push(no)) : new Response("", { status: 503, headers: { "Retry-After": "60" } });
  const lines = listen(connect({ url: URL, getTicket }));
  while (getTicket.asked.length < 2) await world.clock.pass(1_000);
  const since = world.clock.ran;
  fail[0]({ status: 503, retryAfter: 1 });
  await settled();
  world.online();
  await world.clock.pass(58_000);
  assert.equal(getTicket.asked.length, 2, `${world.clock.ran - since} ms later`);
  assert.deepEqual(lines, ["mintfailed 0", "mintfailed 503"]);
});

test("Retry-After is an hour at most, and online in between does not make it more", async (t) => {
  const world = install(t), getTicket = minter(world);
  getTicket.instead = async () => new Response("", { status: 503, headers: { "Retry-After": "999999999" } });
  connect({ url: URL, getTicket });
  await world.clock.pass(1_800_000);
  world.online();
  await world.clock.pass(1_799_000);
  assert.equal(getTicket.asked.length, 1);
  await world.clock.pass(3_000);
  assert.equal(getTicket.asked.length, 2);
});

test("a pause that is over stays so when the clock is set back", async (t) => {
  const world = install(t), getTicket = minter(world);
  getTicket.instead = async ({ attempt }) => attempt === 1 ? new Response("", { status: 429, headers: { "Retry-After": "20" } }) : { ticket: "t" + attempt };
  const socket = connect({ url: URL, getTicket });
  await world.clock.pass(60_000);
  assert.equal(socket.readyState, 1);
  world.clock.sleep(-86_400_000);
  world.last.end();
  await world.clock.pass(2_000);
  assert.equal(getTicket.asked.length, 3);
  assert.equal(socket.readyState, 1);
});

test("a ticket of which more than half the life passed is not shown: a laptop slept", async (t) => {
  const world = install(t), getTicket = minter(world);
  getTicket.instead = async ({ attempt }) => {
    world.clock.sleep({ 1: 5_001, 2: 5_000 }[attempt]);
    return { ticket: "t" + attempt, expires_in: 10 };
  };
  connect({ url: URL, getTicket });
  await settled();
  assert.equal(getTicket.asked.length, 2);
  assert.deepEqual(world.sockets.map((s) => s.ticket), ["t2"]);
});

test("nor one from a time that the clock has not reached", async (t) => {
  const world = install(t), getTicket = minter(world);
  getTicket.instead = async ({ attempt }) => {
    if (attempt === 1) world.clock.sleep(-60_000);
    return { ticket: "t" + attempt, expires_in: 10 };
  };
  connect({ url: URL, getTicket });
  await settled();
  assert.deepEqual(world.sockets.map((s) => s.ticket), ["t2"]);
});

test("a mint that is always slow leads to backoff and not to a loop", async (t) => {
  const world = install(t), getTicket = minter(world);
  getTicket.instead = async ({ attempt }) => {
    world.clock.sleep(6_000);
    return { ticket: "t" + attempt, expires_in: 10 };
  };
  const lines = listen(connect({ url: URL, getTicket }));
  await settled();
  assert.equal(getTicket.asked.length, 2, "once more at once, and no third time");
  assert.deepEqual(lines, ["mintfailed 0"]);
  assert.match(lines.events[0].error.message, /too long/);
});

test("a ticket without expires_in counts as one of ten seconds", async (t) => {
  const world = install(t), getTicket = minter(world);
  getTicket.instead = async ({ attempt }) => {
    world.clock.sleep(attempt === 1 ? 5_100 : 4_900);
    return { ticket: "t" + attempt };
  };
  connect({ url: URL, getTicket });
  await settled();
  assert.deepEqual(world.sockets.map((s) => s.ticket), ["t2"]);
});

test("a mint that never answers, and a handshake that hangs, end by their deadlines", async (t) => {
  const world = install(t), getTicket = minter(world, { life: 60 });
  getTicket.instead = () => new Promise(() => {});
  const lines = listen(connect({ url: URL, getTicket }));
  await world.clock.pass(9_999);
  assert.deepEqual(lines, []);
  await world.clock.pass(1);
  assert.deepEqual(lines, ["mintfailed 0"]);
  assert.ok(getTicket.asked[0].signal.aborted);

  getTicket.instead = undefined;
  world.serve = () => {};
  await world.clock.pass(2_000);
  assert.equal(world.sockets.length, 1);
  const begun = world.last.at;
  await world.clock.pass(begun + 9_999 - world.clock.ran);
  assert.equal(lines.length, 1);
  await world.clock.pass(1);
  assert.deepEqual(lines, ["mintfailed 0", "error", "close 1006"]);
  assert.equal(world.last.readyState, 3);
});

test("a handshake that hangs until its ticket has expired is left: Firefox holds some back", async (t) => {
  const world = install(t), getTicket = minter(world, { life: 4 });
  world.serve = () => {};
  const lines = listen(connect({ url: URL, getTicket }));
  await world.clock.pass(3_999);
  assert.deepEqual(lines, []);
  await world.clock.pass(1);
  assert.deepEqual(lines, ["error", "close 1006"]);
});
