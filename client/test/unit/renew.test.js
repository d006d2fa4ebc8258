// Point 8: a new ticket before the session ends.
import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "../../index.js";
import { install, listen, minter, sessionTicket, settled } from "./world.js";

const URL = "wss://gw.example/ws";

/** A mint whose sessions last so many seconds from each mint on; the clock of the server is its own. */
function sessions(world, ...seconds) {
  const getTicket = minter(world);
  getTicket.instead = async ({ attempt }) => {
    const left = seconds[Math.min(attempt, seconds.length) - 1];
    return { ticket: typeof left === "number" ? sessionTicket(attempt, left, { iat: 5_000 + attempt }) : left, expires_in: 10 };
  };
  return getTicket;
}

test("the second socket is open before the first is closed", async (t) => {
  const world = install(t), getTicket = sessions(world, 600);
  const order = [];
  world.serve = (s) => {
    const n = world.sockets.length;
    order.push("connect " + n);
    s.addEventListener("close", (e) => order.push(`close ${n} ${e.code}`));
    s.accept();
    order.push("open " + n);
  };
  const socket = connect({ url: URL, getTicket });
  const lines = listen(socket);
  socket.addEventListener("open", () => { order.push("event"); socket.send("subscribe"); });
  await world.clock.pass(539_999);
  assert.equal(getTicket.asked.length, 1, "not before the last minute");
  while (getTicket.asked.length < 2) await world.clock.pass(500);
  assert.ok(world.clock.ran < 570_500, "nor in its second half");
  await world.clock.pass(400);
  assert.deepEqual(order, ["connect 1", "event", "open 1", "connect 2", "open 2"]);
  await world.clock.pass(1_000);
  assert.deepEqual(order.slice(5), ["event", "close 1 1005"]);
  assert.deepEqual(lines, ["open", "open renewed"]);
  assert.deepEqual(world.sockets.map((s) => s.sent), [["subscribe"], ["subscribe"]], "what is sent goes to the new one");
  world.sockets[0].message("late");
  world.sockets[1].message("new");
  assert.deepEqual(lines.slice(2), ["message new"]);

  // And so on, until the socket in use is lost.
  await world.clock.pass(571_000);
  assert.equal(lines.at(-1), "open renewed");
  assert.deepEqual(world.sockets.map((s) => s.readyState), [3, 3, 1]);
  world.last.end(1001);
  assert.equal(lines.at(-1), "close 1001");
  await world.clock.pass(2_000);
  assert.equal(lines.at(-1), "open");
  assert.equal(world.replayed, 0);
});

test("a second socket that is closed right behind its open costs nothing: the first stays, and another is tried", async (t) => {
  for (const code of [1013, 3000, 3003, 3008]) {
    for (const after of [0, 900, 2_000]) { // a browser tells of the close frame when the connection is gone
      const world = install(t), getTicket = sessions(world, 600);
      let refused = 0;
      world.serve = (s) => {
        s.accept();
        if (world.sockets.length !== 2) return;
        refused++;
        if (after > 1_000) s.readyState = 2;
        world.clock.setTimeout(() => s.end(code), after);
      };
      const socket = connect({ url: URL, getTicket });
      const lines = listen(socket);
      while (!refused) await world.clock.pass(100);
      await world.clock.pass(after + 100);
      assert.deepEqual(world.sockets.map((s) => s.readyState), [1, 3]);
      socket.send("to the first");
      assert.deepEqual(world.sockets[0].sent, ["to the first"]);
      await world.clock.pass(599_999 - world.clock.ran);
      assert.deepEqual(lines, ["open", "open renewed"], `${code} after ${after} ms`);
      assert.equal(world.replayed, 0);
      socket.close();
    }
  }
});

test("where every second socket is closed, the first stays until the session ends, and the tries are few", async (t) => {
  const world = install(t), getTicket = sessions(world, 600);
  getTicket.instead = async ({ attempt }) => ({ ticket: sessionTicket(attempt, 600 + attempt), expires_in: 10 });
  world.serve = (s) => world.sockets.length === 1 ? s.accept() : s.acceptAndClose(3003);
  const lines = listen(connect({ url: URL, getTicket }));
  await world.clock.pass(599_999);
  assert.ok(world.sockets.length > 2 && world.sockets.length < 12, `${world.sockets.length} sockets`);
  assert.deepEqual(lines, ["open"]);
  assert.equal(world.sockets[0].readyState, 1);
});

test("the second socket takes over with its first message, and not before it", async (t) => {
  const world = install(t), getTicket = sessions(world, 600);
  const socket = connect({ url: URL, getTicket });
  const lines = listen(socket);
  while (world.sockets.length < 2) await world.clock.pass(100);
  const [first, second] = world.sockets;
  socket.send("before");
  first.message("old");
  second.message("hello");
  first.message("late");
  socket.send("behind");
  await settled();
  assert.deepEqual(lines, ["open", "message old", "open renewed", "message hello"]);
  assert.deepEqual([first.sent, second.sent], [["before"], ["behind"]]);
  assert.deepEqual([first.readyState, second.readyState], [3, 1]);
  await world.clock.pass(5_000);
  assert.deepEqual(lines.slice(4), [], "and once");
});

test("close() in the open of a takeover is the end, also where a message brought it or a loss", async (t) => {
  for (const deed of [(first, second) => second.message("hello"), (first) => first.end(1006), () => {}]) {
    const world = install(t), getTicket = sessions(world, 600);
    const socket = connect({ url: URL, getTicket });
    const lines = listen(socket);
    socket.addEventListener("open", ({ renewed }) => renewed && socket.close(1000));
    while (world.sockets.length < 2) await world.clock.pass(100);
    deed(...world.sockets);
    await world.clock.pass(1_000);
    assert.deepEqual(lines, ["open", "open renewed", "close 1000 for good"]);
    assert.deepEqual([world.sockets.map((s) => s.readyState), world.clock.waiting], [[3, 3], 0]);
  }
});

test("where the first is lost while the second waits, the second takes over at once", async (t) => {
  const world = install(t), getTicket = sessions(world, 600);
  const socket = connect({ url: URL, getTicket });
  const lines = listen(socket);
  for (const n of [2, 3]) { // a server that lets a user have one connection does so each time
    while (world.sockets.length < n) await world.clock.pass(500);
    world.sockets[n - 2].end(4001);
    socket.send("on");
    assert.deepEqual(world.last.sent, ["on"]);
    assert.deepEqual(lines.slice(n - 1), ["open renewed"]);
  }
  world.last.end(1001);
  assert.deepEqual(lines.slice(3), ["close 1001"], "and the loss of that one is a loss");
  await world.clock.pass(2_000);
  assert.deepEqual(lines.slice(4), ["open"]);
});

test("a second socket that is being closed for longer than its second is left, and another is tried", async (t) => {
  for (const deed of [() => {}, (socket) => socket.close(1000), (_, first) => first.end(1006)]) {
    const world = install(t), getTicket = sessions(world, 600);
    const socket = connect({ url: URL, getTicket });
    const lines = listen(socket);
    while (world.sockets.length < 2) await world.clock.pass(100);
    const [first, second] = world.sockets;
    second.readyState = 2;
    await world.clock.pass(1_200);
    deed(socket, first);
    await settled();
    second.end(1013);
    await world.clock.pass(60_000);
    if (socket.readyState === 3) {
      assert.deepEqual(lines, ["open", "close 1000 for good"]);
      assert.deepEqual([getTicket.asked.length, world.clock.waiting], [2, 0]);
    } else {
      assert.deepEqual(lines, first.readyState === 3 && lines.includes("close 1006") ? ["open", "close 1006", "open"] : ["open", "open renewed"]);
      await world.clock.pass(3_600_000);
      assert.ok(getTicket.asked.length < 12, `${getTicket.asked.length} mints in an hour: more than one goes on`);
      socket.close();
    }
  }
});

test("what the second socket says first has the binaryType that was set", async (t) => {
  const world = install(t), getTicket = sessions(world, 600);
  const socket = connect({ url: URL, getTicket });
  socket.binaryType = "arraybuffer";
  while (world.sockets.length < 2) await world.clock.pass(100);
  assert.equal(world.last.binaryType, "arraybuffer", "browsers make a message of it when it comes, before anybody is told");
  socket.binaryType = "blob";
  await world.clock.pass(1_000);
  assert.equal(world.last.binaryType, "blob", "and of what comes later, what was set meanwhile");
});

test("where the first is lost while the second is being closed, that is a loss", async (t) => {
  const world = install(t), getTicket = sessions(world, 600);
  const lines = listen(connect({ url: URL, getTicket }));
  while (world.sockets.length < 2) await world.clock.pass(100);
  world.last.readyState = 2; // a close frame has come
  world.sockets[0].end(1006);
  assert.deepEqual(lines, ["open", "close 1006"]);
  world.last.end(3003);
  await world.clock.pass(2_000);
  assert.deepEqual(lines, ["open", "close 1006", "open"]);
});

test("close() while the second waits ends both", async (t) => {
  const world = install(t), getTicket = sessions(world, 600);
  const socket = connect({ url: URL, getTicket });
  const lines = listen(socket);
  while (world.sockets.length < 2) await world.clock.pass(100);
  assert.deepEqual(world.sockets.map((s) => s.readyState), [1, 1]);
  socket.close(1000);
  await settled();
  assert.deepEqual(world.sockets.map((s) => s.readyState), [3, 3]);
  assert.deepEqual(lines, ["open", "close 1000 for good"]);
  assert.equal(world.clock.waiting, 0);
});

test("renewals of sessions that end together are spread", async (t) => {
  const world = install(t), getTicket = sessions(world, 600);
  for (let i = 0; i < 100; i++) connect({ url: URL, getTicket });
  await settled();
  getTicket.asked.length = 0;
  await world.clock.pass(575_000);
  const asked = getTicket.asked.map(({ at }) => at);
  assert.equal(asked.length, 100);
  assert.ok(Math.min(...asked) < 543_000 && Math.max(...asked) > 567_000);
});

test("a session without end, one that ends at once, and a ticket of another kind are not renewed", async (t) => {
  for (const ticket of ["opaque", "a.b.c", sessionTicket(1, undefined), sessionTicket(1, 2), "a." + btoa("null") + ".c"]) {
    const world = install(t), getTicket = sessions(world, ticket.replaceAll("=", ""));
    const socket = connect({ url: URL, getTicket });
    await world.clock.pass(7 * 86_400_000);
    assert.equal(getTicket.asked.length, 1);
    socket.close();
  }
});

test("a session is read off any ticket, whatever its other claims spell", async (t) => {
  const letters = ["ÿ", "?", ">", "~", "ø", "\u07ff", "\uffff", "\u{10ffff}", "/", "+", "\\", '"', "\n"];
  for (let i = 0; i < 200; i++) {
    const world = install(t), getTicket = minter(world);
    const sub = Array.from({ length: i % 7 }, (_, k) => letters[(i * 5 + k * 3) % letters.length]).join("");
    const payload = Buffer.from(JSON.stringify({ [sub]: sub, session_exp: 1600, sub, iat: 1000 })).toString("base64url");
    getTicket.instead = async () => ({ ticket: `a.${payload}.c` + i, expires_in: 10 });
    connect({ url: URL, getTicket });
    await settled();
    assert.equal(world.clock.waiting, 2, "stable, and the renewal: " + sub);
    await world.clock.pass(539_000);
    assert.equal(getTicket.asked.length, 1);
    await world.clock.pass(32_000);
    assert.ok(getTicket.asked.length > 1, sub);
  }
});

test("a session of years is no reason to renew all the time", async (t) => {
  const world = install(t), getTicket = sessions(world, 10 * 365 * 86_400);
  const lines = listen(connect({ url: URL, getTicket }));
  await world.clock.pass(20 * 86_400_000);
  assert.equal(getTicket.asked.length, 1);
  await world.clock.pass(30 * 86_400_000);
  assert.ok(getTicket.asked.length <= 3);
  assert.ok(!lines.includes("close 1006"));
});

test("a session that the mint does not prolong is asked for a few times, and left to its end", async (t) => {
  const world = install(t), getTicket = minter(world);
  const end = world.clock.wall + 600_000;
  getTicket.instead = async ({ attempt }) => ({ ticket: sessionTicket(attempt, (end - world.clock.wall) / 1000), expires_in: 10 });
  const lines = listen(connect({ url: URL, getTicket }));
  await world.clock.pass(599_999);
  assert.ok(getTicket.asked.length > 2 && getTicket.asked.length < 12, `${getTicket.asked.length} mints`);
  assert.equal(world.sockets.length, 1);
  assert.deepEqual(lines, ["open"]);
  world.last.end(3000, "session ended");
  getTicket.instead = async () => new Response("", { status: 401 });
  await world.clock.pass(60_000);
  assert.deepEqual(lines, ["open", "close 3000", "mintfailed 401", "mintfailed 401", "unauthorized 401", "close 1006 for good"]);
});

test("one that it prolongs later is renewed then", async (t) => {
  const world = install(t), getTicket = minter(world);
  const end = world.clock.wall + 600_000;
  getTicket.instead = async ({ attempt }) => ({ ticket: sessionTicket(attempt, attempt < 3 ? (end - world.clock.wall) / 1000 : 600), expires_in: 10 });
  const lines = listen(connect({ url: URL, getTicket }));
  await world.clock.pass(599_999);
  assert.deepEqual(lines, ["open", "open renewed"]);
  assert.equal(getTicket.asked.length, 3);
});

test("a mint that fails at a renewal is told and tried again; the socket in use stays", async (t) => {
  const world = install(t), getTicket = minter(world);
  const end = world.clock.wall + 600_000;
  let times = 0;
  getTicket.instead = async ({ attempt }) => {
    if (attempt > 1 && ++times <= 2) return new Response("", { status: 503 });
    return { ticket: sessionTicket(attempt, attempt === 1 ? (end - world.clock.wall) / 1000 : 900), expires_in: 10 };
  };
  const lines = listen(connect({ url: URL, getTicket }));
  await world.clock.pass(600_000);
  assert.deepEqual(lines, ["open", "mintfailed 503", "mintfailed 503", "open renewed"]);
  assert.equal(lines.events[1].retryIn, undefined);
});

test("a mint that refuses a renewal is not asked again; the server ends the session", async (t) => {
  for (const status of [400, 401, 403]) {
    const world = install(t), getTicket = minter(world);
    getTicket.instead = async ({ attempt }) => attempt === 1 ? { ticket: sessionTicket(1, 600), expires_in: 10 } : new Response("", { status });
    const socket = connect({ url: URL, getTicket });
    const lines = listen(socket);
    await world.clock.pass(599_999);
    assert.deepEqual(lines, ["open", "mintfailed " + status]);
    assert.equal(socket.readyState, 1);
    socket.close();
  }
});

test("a mint that wants to be left alone at a renewal is, and by the attempt that follows a loss too", async (t) => {
  for (const wait of [15, 50, 300]) {
    for (const lost of [false, true]) {
      const world = install(t), getTicket = minter(world);
      getTicket.instead = async ({ attempt }) => attempt === 1 ? { ticket: sessionTicket(1, 600), expires_in: 10 } : new Response("", { status: 429, headers: { "Retry-After": String(wait) } });
      const socket = connect({ url: URL, getTicket });
      while (getTicket.asked.length < 2) await world.clock.pass(500);
      if (lost) world.last.end(3000);
      else world.clock.setTimeout(() => world.last.end(3000), 600_000 - world.clock.ran); // the session's end
      await world.clock.pass(400_000);
      const [, first, second] = getTicket.asked;
      assert.ok(second.at - first.at >= wait * 1000, `after ${second.at - first.at} ms and not ${wait} s`);
      socket.close();
    }
  }
});

test("close() in getTicket at a renewal is the end: no second socket takes over", async (t) => {
  const world = install(t), getTicket = minter(world);
  let socket;
  getTicket.instead = ({ attempt }) => {
    if (attempt === 2) socket.close(1000);
    return { ticket: sessionTicket(attempt, 600), expires_in: 10 };
  };
  world.deaf = true;
  socket = connect({ url: URL, getTicket });
  const lines = listen(socket);
  await world.clock.pass(575_000);
  assert.equal(getTicket.asked.length, 2);
  await world.clock.pass(20_000);
  assert.deepEqual(lines, ["open", "close 1006 for good"]);
  assert.equal(world.sockets.length, 1);
  assert.equal(world.clock.waiting, 0);
});

test("a second socket that does not open is tried again with another ticket", async (t) => {
  const world = install(t), getTicket = sessions(world, 600);
  let refused = 0;
  world.serve = (s) => world.sockets.length === 2 && ++refused ? s.refuse() : s.accept();
  const lines = listen(connect({ url: URL, getTicket }));
  await world.clock.pass(599_999);
  assert.equal(refused, 1);
  assert.deepEqual(lines, ["open", "open renewed"]);
  assert.equal(world.replayed, 0);
});

test("when the socket in use is lost during a renewal, one attempt goes on and not two", async (t) => {
  const world = install(t), getTicket = sessions(world, 600);
  const lines = listen(connect({ url: URL, getTicket }));
  await settled();
  world.serve = () => {};
  while (world.sockets.length < 2) await world.clock.pass(1_000);
  const [first, second] = world.sockets;
  assert.equal(second.readyState, 0);
  first.end(1006);
  await settled();
  assert.equal(second.readyState, 3);
  assert.ok(getTicket.asked[1].signal.aborted);
  world.serve = (s) => s.accept();
  await world.clock.pass(2_000);
  assert.deepEqual(lines, ["open", "close 1006", "open"]);
  assert.equal(world.sockets.length, 3);
  assert.equal(world.sockets.filter((s) => s.readyState === 1).length, 1);
});

test("close() during a renewal ends both", async (t) => {
  const world = install(t), getTicket = sessions(world, 600);
  const socket = connect({ url: URL, getTicket });
  const lines = listen(socket);
  await settled();
  world.serve = () => {};
  while (world.sockets.length < 2) await world.clock.pass(1_000);
  assert.equal(world.last.readyState, 0);
  world.deaf = true; // the server does not answer the close frame
  socket.close(1000);
  world.last.accept();
  await settled();
  assert.deepEqual(lines, ["open"]);
  assert.deepEqual(world.sockets.map((s) => s.readyState), [2, 3]);
  world.sockets[0].end(1000);
  assert.deepEqual(lines, ["open", "close 1000 for good"]);
  assert.ok(world.sockets.every((s) => s.readyState === 3));
  assert.equal(world.clock.waiting, 0);
});

test("nothing is renewed once close() was called", async (t) => {
  const world = install(t), getTicket = sessions(world, 8);
  world.deaf = true;
  const socket = connect({ url: URL, getTicket });
  await settled();
  socket.close();
  await world.clock.pass(9_000);
  assert.equal(getTicket.asked.length, 1);
});

test("after a sleep past the session's end it renews when the tab is seen", async (t) => {
  const world = install(t), getTicket = sessions(world, 600);
  const lines = listen(connect({ url: URL, getTicket }));
  await settled();
  world.clock.sleep(900_000);
  world.document.set(false);
  await world.clock.pass(3_000);
  assert.deepEqual(lines, ["open", "open renewed"]);
});

test("in band, where the application says how, and no second socket", async (t) => {
  const world = install(t), getTicket = sessions(world, 600);
  const renewed = [];
  const socket = connect({ url: URL, getTicket, renew: async (minted, given) => {
    assert.equal(given, socket);
    given.send("renew " + minted.ticket);
    renewed.push(minted.ticket);
  } });
  const lines = listen(socket);
  await world.clock.pass(575_000);
  await world.clock.pass(575_000);
  assert.equal(renewed.length, 2);
  assert.notEqual(renewed[0], renewed[1]);
  assert.deepEqual(world.sockets.length, 1);
  assert.deepEqual(world.last.sent, renewed.map((ticket) => "renew " + ticket));
  assert.deepEqual(lines, ["open"]);

  // A ticket that went in band was shown.
  getTicket.instead = async () => ({ ticket: renewed[1], expires_in: 10 });
  world.last.end(1006);
  await world.clock.pass(2_000);
  assert.match(lines.events.at(-1).error.message, /no new ticket/);
});

test("a session that has no end any more, renewed in band or not, goes on over one connection", async (t) => {
  for (const endless of ["opaque", "a.b.c", `a.${btoa('{"iat":1000,"exp":1010}').replaceAll("=", "")}.c`]) {
    for (const renew of [undefined, async () => {}]) {
      const world = install(t), getTicket = sessions(world, 600, endless);
      const socket = connect({ url: URL, getTicket, renew });
      const lines = listen(socket);
      await world.clock.pass(7 * 86_400_000);
      assert.deepEqual(lines, renew ? ["open"] : ["open", "open renewed"]);
      assert.deepEqual([getTicket.asked.length, socket.readyState, world.clock.waiting], [2, 1, 0]);
      socket.close();
      await settled();
      assert.ok(world.sockets.every((s) => s.readyState === 3));
    }
  }
});

test("a renewal in band that fails is told, and tried again with another ticket", async (t) => {
  const world = install(t), getTicket = sessions(world, 600);
  const tickets = [];
  const fault = new Error("no answer");
  const lines = listen(connect({ url: URL, getTicket, renew: async ({ ticket }) => {
    tickets.push(ticket);
    if (tickets.length === 1) throw fault;
  } }));
  await world.clock.pass(590_000);
  assert.equal(new Set(tickets).size, 2);
  assert.deepEqual(lines, ["open", "mintfailed undefined"]);
  assert.equal(lines.events[1].error, fault);
  assert.equal(world.sockets.length, 1);
});

test("what the application throws in renew is passed on as it is, and decides nothing", async (t) => {
  for (const fault of ["a text of the server", { status: 401, code: 4321, attempt: "x", minting: false, retryIn: 5 }, Object.assign(new Error("no"), { code: "ECONNRESET" }), null, undefined]) {
    const world = install(t), getTicket = sessions(world, 600);
    let times = 0;
    const socket = connect({ url: URL, getTicket, renew: () => { if (++times === 1) throw fault; } });
    const lines = listen(socket);
    await world.clock.pass(590_000);
    assert.deepEqual(lines, ["open", "mintfailed undefined"]);
    const { error, code, attempt, retryIn, ...rest } = lines.events[1];
    assert.deepEqual([error, code, attempt, retryIn], [fault, 1006, 2, undefined]);
    assert.ok(!("0" in rest));
    assert.equal(times, 2, "it is tried again");
    socket.close();
  }
});

test("a renewal in band that hangs ends by the deadline, and in vain after it", async (t) => {
  const world = install(t), getTicket = sessions(world, 600);
  const answers = [];
  const lines = listen(connect({ url: URL, getTicket, renew: () => new Promise((...both) => answers.push(both)) }));
  while (answers.length < 2) await world.clock.pass(1_000);
  assert.deepEqual(lines, ["open", "mintfailed 0"]);
  answers[0][1](new Error("too late"));
  await settled();
  assert.deepEqual(lines, ["open", "mintfailed 0"]);
  answers[1][0]();
  await world.clock.pass(20_000);
  assert.deepEqual(lines, ["open", "mintfailed 0"]);
  assert.equal(answers.length, 2);
});
