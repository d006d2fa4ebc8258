// What docs/client.md and the README of the package say: each row of their tables and
// each piece of JavaScript is run.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { connect } from "../../index.js";
import { install, listen, minter, sessionTicket, settled } from "./world.js";

const page = readFileSync(new URL("../../../docs/client.md", import.meta.url), "utf8");
const embedding = readFileSync(new URL("../../../docs/embedding.md", import.meta.url), "utf8");
const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");

/** The rows of the table that follows a line, as lists of cells. */
function table(line) {
  const at = page.indexOf(line);
  assert.ok(at >= 0, "there is no " + line);
  const rows = page.slice(at).split("\n\n").find((block) => block.startsWith("|")).split("\n").slice(2);
  return rows.map((row) => row.split("|").slice(1, -1).map((cell) => cell.trim()));
}

const numbers = (cell) => cell.match(/\b(\d{3,4}|0)\b/g).map(Number);
const codeIn = (cell) => /^`(\w+)`/.exec(cell)?.[1];

/** Runs one kind of failure for an hour, and holds what came of it against the page. */
async function holds(t, what, { serve, instead }, attempts, then) {
  const world = install(t), getTicket = minter(world);
  if (serve) world.serve = serve;
  getTicket.instead = instead;
  const socket = connect({ url: "wss://gw.example/ws", getTicket });
  const lines = listen(socket);
  await world.clock.pass(3_600_000);
  const ends = lines.filter((line) => /^(unauthorized|forbidden|gaveup)/.test(line)).map((line) => line.split(" ")[0]);
  if (attempts === "for ever") {
    assert.ok(getTicket.asked.length > 100, `${what}: ${getTicket.asked.length} attempts`);
    assert.deepEqual(ends, [], what);
  } else {
    assert.deepEqual([getTicket.asked.length, ends], [Number(attempts), [then]], what);
  }
  socket.close();
}

test("the mint answers: each row of the table", async (t) => {
  const rows = table("The mint answers:");
  assert.equal(rows.length, 7);
  for (const [cell, attempts, then] of rows) {
    for (const status of numbers(cell)) {
      const answers = [async () => {
        if (status === 0) throw new TypeError("Failed to fetch");
        return new Response(status === 200 ? "{}" : "", { status });
      }];
      if (status === 0) answers.push(() => new Promise(() => {}));
      for (const instead of answers) await holds(t, "mint " + status, { instead }, attempts, codeIn(then));
    }
  }
});

test("the connection closes: each row of the table", async (t) => {
  const rows = table("The connection closes,");
  assert.equal(rows.length, 5);
  for (const [cell, attempts, then] of rows) {
    for (const code of numbers(cell)) await holds(t, "close " + code, { serve: (s) => s.acceptAndClose(code) }, attempts, codeIn(then));
  }
});

test("the gateway refuses: each row of the table", async (t) => {
  const rows = table("The gateway refuses the handshake:");
  assert.equal(rows.length, 4);
  for (const [, sees, attempts, statuses, withStatus, then] of rows) {
    assert.deepEqual(numbers(sees), [1006]);
    await holds(t, "a page", { serve: (s) => s.refuse() }, attempts, codeIn(then));
    for (const status of numbers(statuses)) {
      const last = /with ws `(\w+)`/.exec(then)?.[1] ?? codeIn(then);
      await holds(t, "ws " + status, { serve: (s) => s.refuse("Unexpected server response: " + status) }, withStatus, last);
    }
  }
});

test("the figures of slots, limits and waits are those of the code", () => {
  const code = readFileSync(new URL("../../index.js", import.meta.url), "utf8");
  for (const figure of ["timeout = 10_000", "baseDelay = 2_000", "maxDelay = 30_000", "stableAfter = 10_000", "giveUpAfter = 30", "1.25 ** failures++", "3_600_000", "60_000"]) {
    assert.ok(code.includes(figure), `index.js has no ${figure}; docs/client.md tells it in words`);
  }
});

/** The pieces of JavaScript of a page, each with a line to find it by. */
const pieces = (text) => [...text.matchAll(/^```js\n(.*?)^```/gms)].map(([, code]) => code);

let imported = 0;

/** Runs a piece as a module in which the package is this one. */
async function run(t, code) {
  const world = install(t);
  let minted = 0, requests = [];
  world.serve = (s) => {
    const send = s.send;
    s.send = (data) => { send.call(s, data); queueMicrotask(() => s.message(JSON.stringify({ until: 1, of: data }))); };
    s.accept();
  };
  world.fetch = async (url, init) => {
    requests.push([String(url), init]);
    return Response.json({ ticket: sessionTicket(++minted, 600), expires_in: 10 });
  };
  const shown = [];
  Object.assign(globalThis, {
    show: (text) => shown.push(text), csrfToken: "csrf", accessToken: () => "access", stored: () => "old", refresh: async () => "new",
    mintForService: async () => ({ ticket: "service" + ++minted }), self: {}, npmWebSocket: world.WebSocket, connect,
    socket: code.includes("connect(") ? undefined : connect({ url: "wss://gw.example/ws", ticketUrl: "/ticket" }),
  });
  const module = code
    .replaceAll(/"@wsticket\/client"|"\/wsticket.js"/g, JSON.stringify(new URL("../../index.js", import.meta.url).href))
    .replace('import { WebSocket } from "ws"', "const WebSocket = npmWebSocket");
  assert.ok(!/^import .* from "[^f]/m.test(module), "the piece imports what is not there:\n" + code);
  await import("data:text/javascript," + encodeURIComponent(module + "\n//" + ++imported));
  await settled();
  assert.equal(world.sockets.length, 1, "the piece does not connect:\n" + code);
  return { world, requests, shown };
}

test("each piece of JavaScript in docs/client.md and the README runs", async (t) => {
  const seen = new Set();
  for (const code of [...pieces(page), ...pieces(readme), ...pieces(embedding)]) {
    const { world, requests, shown } = await run(t, code);
    const has = (words, check) => { if (code.includes(words)) { seen.add(words); check(); } };
    has('.send("hello")', () => assert.deepEqual(world.last.sent, ["hello"]));
    has("show(event.data)", () => {
      const before = shown.length;
      world.last.message("x");
      assert.deepEqual(shown.slice(before), ["x"]);
    });
    has("event.code === 4001", () => {
      const lines = listen(globalThis.socket);
      world.last.end(4001);
      assert.deepEqual(lines, ["close 4001"]);
      assert.equal(globalThis.socket.readyState, 2);
    });
    has("X-CSRF-Token", () => assert.deepEqual(requests[0][1].headers, { "X-CSRF-Token": "csrf", Authorization: "Bearer access" }));
    has("carrier:", () => assert.match(world.last.url, /\?ticket=/));
    has("self.onconnect", () => {
      const heard = [], port = { postMessage: (data) => heard.push(data) };
      globalThis.self.onconnect({ ports: [port] });
      port.onmessage({ data: "from a tab" });
      assert.deepEqual(world.last.sent, ["from a tab"]);
      world.last.message("to all");
      assert.deepEqual(heard, ["to all"]);
    });
    if (code.includes("await refresh()")) {
      seen.add("await refresh()");
      world.fetch = async (url, init) => init.headers.Authorization === "Bearer new" ? Response.json({ ticket: "t" }) : new Response("", { status: 401 });
      world.last.end();
      await world.clock.pass(2_000);
      assert.equal(world.last.ticket, "t");
    }
    if (code.includes("answer.redirected")) {
      seen.add("answer.redirected");
      const login = Response.json("the page of a login");
      Object.defineProperty(login, "redirected", { value: true });
      world.fetch = async () => login;
      world.last.end();
      await world.clock.pass(20_000);
      assert.equal(world.clock.waiting, 0, "it has given up");
    }
    if (code.includes("renew:")) {
      seen.add("renew:");
      await world.clock.pass(571_000);
      assert.equal(world.sockets.length, 1);
      assert.equal(JSON.parse(world.last.sent[0]).renew.split(".").length, 3);
    }
  }
  assert.equal(seen.size, 9, [...seen].join());
});
