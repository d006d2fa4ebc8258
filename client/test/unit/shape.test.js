// Points 9 and 10, and the shape of a WebSocket.
import assert from "node:assert/strict";
import { inspect } from "node:util";
import { test } from "node:test";
import { connect } from "../../index.js";
import { install, listen, minter, settled } from "./world.js";

const URL = "wss://gw.example/ws";

test("without protocols the ticket goes by query, with them by subprotocol", async (t) => {
  const world = install(t), getTicket = minter(world);
  for (const [options, url, protocols] of [
    [{}, "wss://gw.example/ws?ticket=t1", []],
    [{ url: URL + "?" }, "wss://gw.example/ws?ticket=t2", []],
    [{ url: URL + "?a=b%20c&d=+" }, "wss://gw.example/ws?a=b%20c&d=+&ticket=t3", []],
    [{ protocols: [] }, "wss://gw.example/ws?ticket=t4", []],
    [{ protocols: "app.v1" }, URL, ["app.v1", "ticket.t5"]],
    [{ protocols: ["app.v2", "app.v1"] }, URL, ["app.v2", "app.v1", "ticket.t6"]],
    [{ protocols: "app.v1", carrier: "query" }, URL + "?ticket=t7", ["app.v1"]],
    [{ url: "/ws" }, "wss://app.example/ws?ticket=t8", []],
    [{ url: "http://gw.example/ws" }, "ws://gw.example/ws?ticket=t9", []],
    [{ url: new globalThis.URL("https://gw.example/ws") }, URL + "?ticket=t10", []],
  ]) {
    const socket = connect({ url: URL, getTicket, ...options });
    await settled();
    assert.equal(world.last.url, url);
    assert.deepEqual(world.last.protocols, protocols);
    assert.equal(socket.protocol, protocols[0] ?? "");
    socket.close();
  }
});

test("protocols that are none are none", async (t) => {
  const world = install(t), getTicket = minter(world);
  for (const protocols of [null, "", [""], [null, undefined]]) {
    connect({ url: URL, getTicket, protocols });
    await settled();
    assert.match(world.last.url, /[?]ticket=/);
    assert.deepEqual(world.last.protocols, []);
  }
});

test("a relative url is relative to the base of the page, as for a WebSocket", async (t) => {
  const world = install(t), getTicket = minter(world);
  world.document.baseURI = "https://base.example/app/";
  const socket = connect({ url: "ws", getTicket });
  await settled();
  assert.equal(socket.url, "wss://base.example/app/ws");
  assert.equal(world.last.url, "wss://base.example/app/ws?ticket=t1");
});

test("the mint may name the gateway that takes the ticket", async (t) => {
  const world = install(t), getTicket = minter(world);
  getTicket.instead = async ({ attempt }) => ({ ticket: "t" + attempt, expires_in: 10, url: ["wss://gw2.example/ws?a=1", "/other", undefined][attempt - 1] });
  const socket = connect({ url: URL, getTicket });
  for (const want of ["wss://gw2.example/ws?a=1&ticket=t1", "wss://gw.example/other?ticket=t2", "wss://gw.example/ws?ticket=t3"]) {
    await settled();
    assert.equal(world.last.url, want);
    assert.equal(socket.url, URL);
    world.last.end();
    await world.clock.pass(2_000);
    world.last.message("");
  }
});

test("no ticket in an error, an event, a log, or the socket", async (t) => {
  const world = install(t), getTicket = minter(world);
  const secret = "eyJhbGciOiJIUzI1NiJ9.e30.c2VjcmV0";
  const logged = [];
  for (const name of ["log", "info", "warn", "error", "debug", "trace"]) t.mock.method(console, name, (...args) => logged.push(args));
  const answers = [
    () => new Response(secret), // JSON.parse quotes what it cannot read
    () => ({ ticket: secret + " ", expires_in: 10 }),
    () => ({ ticket: secret, expires_in: 10 }), // refused
    () => ({ ticket: secret, expires_in: 10 }), // again
    () => ({ ticket: secret + "1", expires_in: 10 }), // a server that selects it
    () => ({ ticket: secret + "2", expires_in: 10 }), // the constructor throws
  ];
  getTicket.instead = async ({ attempt }) => answers[attempt - 1]();
  let sockets = 0;
  world.serve = (s) => ++sockets === 1 ? s.refuse("for " + secret) : s.accept(s.protocols.at(-1));
  const socket = connect({ url: URL, getTicket, protocols: "app.v1", WebSocket: class {
    constructor(url, protocols) {
      if (protocols.at(-1).endsWith("2")) throw new DOMException("bad " + protocols, "SyntaxError");
      return new world.WebSocket(url, protocols);
    }
  } });
  const lines = listen(socket);
  const found = [];
  const look = () => {
    for (const event of lines.events) {
      for (const key in event) if (typeof event[key] === "string") found.push(event[key]);
      found.push(inspect(event, { depth: 8, showHidden: true, getters: true }), JSON.stringify(event), String(event.error?.message), String(event.error?.stack));
    }
    found.push(inspect(socket, { depth: 8, showHidden: true, getters: true }), JSON.stringify(socket), socket.url, socket.protocol);
  };
  while (socket.readyState !== 1) await world.clock.pass(1_000);
  assert.equal(world.last.protocol, "ticket." + secret + "1");
  assert.equal(socket.protocol, "");
  look();
  world.last.message("hello");
  world.last.end(1006);
  await world.clock.pass(10_000);
  assert.deepEqual(lines, ["mintfailed 200", "mintfailed 200", "error", "close 1006", "mintfailed 200", "open", "message hello", "close 1006", "error", "gaveup 400", "close 1006 for good"]);
  look();
  assert.ok(found.length > 50);
  for (const text of found) assert.ok(!/eyJ|c2VjcmV0/.test(text), text);
  assert.deepEqual(logged, []);
});

test("options that cannot work are refused, all in one error", (t) => {
  install(t);
  const getTicket = async () => ({});
  for (const [options, text] of [
    [{ url: URL }, /^connect needs either ticketUrl or getTicket$/],
    [{ url: URL, getTicket, ticketUrl: "/t" }, /either ticketUrl or getTicket$/],
    [{ getTicket }, /^connect needs a ws or http url without fragment$/],
    [{ url: "ftp://a/", getTicket }, /http url/],
    [{ url: "wss://", getTicket }, /http url/],
    [{ url: URL + "#a", getTicket }, /fragment/],
    [{ url: URL, getTicket, WebSocket: null }, /needs a WebSocket$/],
    [{ url: URL, getTicket, baseDelay: 0 }, /needs delays above 0$/],
    [{ url: URL, getTicket, baseDelay: NaN }, /delays above 0/],
    [{ url: URL, getTicket, maxDelay: 0 }, /delays above 0/],
    [{ url: URL, getTicket, baseDelay: -1, maxDelay: -1 }, /delays above 0/],
    [{ WebSocket: null, maxDelay: 0 }, /url without fragment, either ticketUrl or getTicket, a WebSocket, delays above 0$/],
  ]) assert.throws(() => connect(options), (error) => error instanceof TypeError && text.test(error.message), String(text));
});

test("a relative url needs a page", (t) => {
  install(t, { page: false });
  assert.throws(() => connect({ url: "/ws", getTicket() {} }), /url/);
});

test("send() on a socket that is not open throws, and queues nothing", async (t) => {
  const world = install(t), getTicket = minter(world);
  const socket = connect({ url: URL, getTicket });
  const refused = () => assert.throws(() => socket.send("x"), { name: "InvalidStateError" });
  refused();
  await settled();
  socket.send("1");
  world.last.readyState = 2; // its close frame has come, its close event has not
  refused();
  assert.equal(socket.readyState, 0);
  world.last.end(1001);
  refused();
  await world.clock.pass(2_000);
  socket.send("2");
  socket.close();
  refused();
  await settled();
  refused();
  assert.deepEqual(world.sockets.map((s) => s.sent), [["1"], ["2"]]);
});

test("buffer: N keeps N messages until the socket is open, in order, and no more", async (t) => {
  const world = install(t), getTicket = minter(world);
  const socket = connect({ url: URL, getTicket, buffer: 2 });
  socket.addEventListener("open", () => socket.send("open"));
  socket.send("1");
  socket.send("2");
  assert.throws(() => socket.send("3"), { name: "InvalidStateError" });
  await settled();
  assert.deepEqual(world.last.sent, ["1", "2", "open"]);
  world.last.end();
  socket.send("4");
  await world.clock.pass(2_000);
  assert.deepEqual(world.last.sent, ["4", "open"]);
  world.last.end();
  socket.send("5");
  socket.close();
  assert.throws(() => socket.send("6"), { name: "InvalidStateError" });
});

test("a buffered message that the WebSocket refuses is an error of its own: the others are sent, and open comes", async (t) => {
  const world = install(t), getTicket = minter(world);
  const thrown = [];
  const note = (error) => thrown.push(error.message);
  const was = process.listeners("unhandledRejection");
  process.removeAllListeners("unhandledRejection");
  process.on("unhandledRejection", note);
  try {
    const refused = { toString() { throw new Error("no text"); } };
    const socket = connect({ url: URL, getTicket, buffer: 3 });
    for (const data of ["1", refused, "2"]) socket.send(data);
    world.serve = (s) => {
      const send = s.send;
      s.send = (data) => send.call(s, String(data));
      s.accept();
    };
    const lines = listen(socket);
    await settled();
    assert.deepEqual([lines, world.last.sent, thrown], [["open"], ["1", "2"], ["no text"]]);
    world.last.end();
    await world.clock.pass(2_000);
    assert.deepEqual([lines, world.last.sent], [["open", "close 1006", "open"], []]);
  } finally {
    process.removeAllListeners("unhandledRejection");
    for (const listener of was) process.on("unhandledRejection", listener);
  }
});

test("a message is a MessageEvent, and each end tells how many mints there were", async (t) => {
  const world = install(t), getTicket = minter(world);
  for (const reach of [() => {}, settled, async () => { await settled(); world.last.end(); }]) {
    getTicket.asked.length = 0;
    const socket = connect({ url: URL, getTicket });
    const lines = listen(socket);
    await reach();
    if (socket.readyState === 1) {
      world.last.message("x");
      world.last.dispatchEvent(Object.assign(new Event("message"), { data: "y" })); // npm's ws tells no origin
      const [first, second] = lines.events.slice(-2);
      assert.ok(first instanceof MessageEvent);
      assert.deepEqual([first.data, first.origin, first.target, second.data, second.origin], ["x", "wss://gw.example", socket, "y", ""]);
    }
    socket.close();
    await settled();
    assert.equal(lines.at(-1).slice(-8), "for good");
    for (const event of lines.events.filter(({ type }) => type === "close")) assert.equal(event.attempt, getTicket.asked.length);
  }
});

test("it has the shape of a WebSocket", async (t) => {
  const world = install(t), getTicket = minter(world);
  const socket = connect({ url: URL, getTicket, protocols: ["a", "b"] });
  assert.ok(socket instanceof EventTarget);
  assert.deepEqual([socket.readyState, socket.url, socket.protocol, socket.bufferedAmount, socket.binaryType], [0, URL, "", 0, "blob"]);
  socket.binaryType = "arraybuffer";
  world.serve = (s) => s.accept("b");
  await settled();
  world.last.bufferedAmount = 7;
  assert.deepEqual([socket.readyState, socket.protocol, socket.bufferedAmount, socket.binaryType], [1, "b", 7, "arraybuffer"]);
  assert.equal(world.last.binaryType, "arraybuffer");
  socket.binaryType = "blob";
  assert.equal(world.last.binaryType, "blob");
  socket.binaryType = "arraybuffer";
  const data = new Uint8Array([1, 2]).buffer;
  let got;
  socket.onmessage = (event) => { got = event; };
  world.last.message(data);
  assert.deepEqual([got.data, got.origin, got.target], [data, "wss://gw.example", socket]);
  world.last.end();
  await world.clock.pass(2_000);
  assert.equal(world.last.binaryType, "arraybuffer", "the next socket has it too");
  socket.close(4000, "done");
  assert.equal(socket.readyState, 2);
  const closed = await new Promise((done) => { socket.onclose = done; });
  assert.deepEqual([closed.code, closed.reason, closed.wasClean, closed.retryIn, socket.readyState], [4000, "done", true, undefined, 3]);
  assert.deepEqual(world.last.closedWith, [4000, "done"]);
});

test("on… handlers run once for each event", async (t) => {
  const world = install(t), getTicket = minter(world);
  const socket = connect({ url: URL, getTicket });
  const seen = [];
  for (const type of ["open", "message", "error", "close", "gaveup"]) socket["on" + type] = (event) => seen.push(event.type);
  await settled();
  world.last.message("1");
  world.last.message("2");
  world.last.end();
  world.serve = (s) => s.refuse("Unexpected server response: 400");
  await world.clock.pass(2_000);
  assert.deepEqual(seen, ["open", "message", "message", "close", "error", "gaveup", "close"]);
});

test("a listener that stops an event keeps no handler waiting for the next", async (t) => {
  const world = install(t), getTicket = minter(world);
  const socket = connect({ url: URL, getTicket });
  const seen = [];
  socket.onmessage = (event) => seen.push(event.data);
  const stops = (event) => event.stopImmediatePropagation();
  socket.addEventListener("message", stops);
  await settled();
  world.last.message("1");
  socket.removeEventListener("message", stops);
  world.last.message("2");
  world.last.message("3");
  assert.deepEqual(seen, ["2", "3"]);
});

test("a handler that throws, throws alone", async (t) => {
  const world = install(t), getTicket = minter(world);
  const thrown = [];
  const was = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  process.on("uncaughtException", (error) => thrown.push(error.message));
  try {
    const socket = connect({ url: URL, getTicket });
    for (const type of ["open", "close", "error", "message"]) {
      socket["on" + type] = () => { throw new Error("on" + type); };
      socket.addEventListener(type, () => { throw new Error(type); });
    }
    const lines = listen(socket);
    await settled();
    world.last.message("x");
    world.last.end();
    await world.clock.pass(2_000);
    assert.deepEqual(lines, ["open", "message x", "close 1006", "open"]);
    assert.equal(socket.readyState, 1);
    assert.deepEqual(thrown, ["open", "onopen", "message", "onmessage", "close", "onclose", "open", "onopen"]);
  } finally {
    process.removeAllListeners("uncaughtException");
    for (const listener of was) process.on("uncaughtException", listener);
  }
});

test("close() while open waits for the server, but not for ever", async (t) => {
  const world = install(t), getTicket = minter(world);
  world.deaf = true;
  const socket = connect({ url: URL, getTicket });
  const lines = listen(socket);
  await settled();
  socket.close(1000);
  socket.close(3000);
  world.last.message("too late");
  await world.clock.pass(9_999);
  assert.deepEqual([...lines, socket.readyState], ["open", 2]);
  await world.clock.pass(1);
  assert.deepEqual([...lines, socket.readyState], ["open", "close 1006 for good", 3]);
  world.last.end(1000);
  assert.equal(lines.length, 2);
  assert.equal(world.clock.waiting, 0);
});

test("a code or reason that a WebSocket refuses changes nothing", async (t) => {
  const world = install(t), getTicket = minter(world);
  const socket = connect({ url: URL, getTicket });
  await settled();
  assert.throws(() => socket.close(1001), { name: "InvalidAccessError" });
  assert.throws(() => socket.close(1000, "x".repeat(124)), { name: "SyntaxError" });
  assert.equal(socket.readyState, 1);
  socket.send("still here");
  assert.deepEqual(world.last.sent, ["still here"]);
});

for (const [phase, reach] of [
  ["before the mint", async () => {}],
  ["during the mint", async (world, getTicket) => { getTicket.instead = () => new Promise(() => {}); await settled(); }],
  ["during the handshake", async (world) => { world.serve = () => {}; await settled(); }],
  ["during the wait", async (world) => { world.serve = (s) => s.refuse(); await settled(); }],
]) {
  test(`close() ${phase} is the end`, async (t) => {
    const world = install(t), getTicket = minter(world);
    const socket = connect({ url: URL, getTicket });
    await reach(world, getTicket);
    const lines = listen(socket), mints = getTicket.asked.length;
    socket.close();
    assert.equal(socket.readyState, 2);
    world.serve = (s) => s.accept();
    world.last?.accept();
    await world.clock.pass(1e6);
    assert.deepEqual(lines, ["close 1006 for good"]);
    assert.equal(getTicket.asked.length, mints);
    assert.ok(world.sockets.every((s) => s.readyState === 3));
    assert.equal(world.clock.waiting, 0);
  });
}

test("close() in getTicket is the end", async (t) => {
  for (const answer of [() => ({ ticket: "t" }), () => { throw new Error("logged out"); }, async () => ({ ticket: "t" })]) {
    const world = install(t), getTicket = minter(world);
    let socket;
    socket = connect({ url: URL, getTicket: (request) => { socket.close(); return answer(getTicket(request)); } });
    const lines = listen(socket);
    await world.clock.pass(1e5);
    assert.deepEqual(lines, ["close 1006 for good"]);
    assert.equal(world.sockets.length, 0);
    assert.equal(world.clock.waiting, 0);
  }
});

test("close() in a handler of close stops the attempts", async (t) => {
  const world = install(t), getTicket = minter(world);
  const socket = connect({ url: URL, getTicket });
  const lines = listen(socket);
  socket.addEventListener("close", () => socket.close());
  await settled();
  world.last.end(4001);
  await world.clock.pass(1e6);
  assert.deepEqual(lines, ["open", "close 4001", "close 1006 for good"]);
  assert.equal(getTicket.asked.length, 1);
});

test("close() in a handler of the last failure makes one last close and not two", async (t) => {
  for (const [type, serve, instead] of [["mintfailed", undefined, async () => new Response("", { status: 403 })], ["error", (s) => s.refuse("Unexpected server response: 403")]]) {
    const world = install(t), getTicket = minter(world);
    getTicket.instead = instead;
    if (serve) world.serve = serve;
    const socket = connect({ url: URL, getTicket });
    const lines = listen(socket);
    socket.addEventListener(type, () => socket.close());
    await world.clock.pass(1e5);
    assert.deepEqual(lines, [instead ? "mintfailed 403" : "error", "forbidden 403", "close 1006 for good"]);
  }
});

test("a signal closes it, before it began and later", async (t) => {
  const world = install(t), getTicket = minter(world);
  const socket = connect({ url: URL, getTicket, signal: AbortSignal.abort() });
  const lines = listen(socket);
  await world.clock.pass(1e5);
  assert.deepEqual(lines, ["close 1006 for good"]);
  assert.equal(getTicket.asked.length, 0);

  const control = new AbortController();
  const other = connect({ url: URL, getTicket, signal: control.signal });
  await settled();
  assert.equal(other.readyState, 1);
  control.abort();
  await settled();
  assert.equal(other.readyState, 3);
});

test("events of an attempt that was left come from nowhere", async (t) => {
  const world = install(t), getTicket = minter(world);
  world.serve = () => {};
  const socket = connect({ url: URL, getTicket, timeout: 100 });
  const lines = listen(socket);
  await world.clock.pass(100);
  const old = world.last;
  old.readyState = 1; // one that does not know that it was closed
  old.dispatchEvent(new Event("open"));
  old.message("x");
  old.end(3003);
  assert.deepEqual(lines, ["error", "close 1006"]);
  assert.equal(socket.readyState, 0);
});
