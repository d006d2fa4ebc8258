// Ten thousand reconnects while everything fails in turn: the gateway must not see a
// ticket twice.
import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "../../index.js";
import { seeded } from "../unit/world.js";
import { Gateway, missing, slow, until } from "./programs.js";

const CLIENTS = 250, RECONNECTS = 10_000;

test("no ticket is shown twice in ten thousand reconnects under faults", { skip: slow, timeout: 600_000 }, async (t) => {
  let WebSocket = globalThis.WebSocket;
  try {
    WebSocket ??= (await import("ws")).WebSocket;
  } catch {
    return void missing(t, "no WebSocket in this Node, and no ws; npm ci in client/test gets it");
  }
  const gateway = await Gateway.start();
  const random = seeded(10);
  const counts = {};
  const ended = [];
  let opens = 0;

  const begin = () => {
    let last;
    const socket = connect({
      url: gateway.ws, WebSocket, baseDelay: 10, maxDelay: 500, timeout: 2_000, stableAfter: 30, giveUpAfter: Infinity,
      getTicket: async ({ signal }) => {
        if (last && random() < 0.03) return last; // an application that caches what it must not
        const response = await fetch(gateway.url + "/ticket", { method: "POST", signal });
        if (!response.ok) return response;
        return last = await response.json();
      },
    });
    for (const type of ["open", "close", "mintfailed", "gaveup", "unauthorized", "forbidden"]) {
      socket.addEventListener(type, (event) => {
        const what = type + " " + (event.status ?? event.code ?? "");
        counts[what] = (counts[what] ?? 0) + 1;
        if (type === "open") opens++;
        if (type === "close" && event.retryIn === undefined && !socket.done) ended.push(socket);
      });
    }
    return socket;
  };
  const sockets = new Set(Array.from({ length: CLIENTS }, begin));
  const closeAll = () => { for (const socket of sockets) { socket.done = true; socket.close(); } };
  t.after(closeAll);
  const open = () => [...sockets].filter((socket) => socket.readyState === 1).length;
  await until("all are connected", () => open() === CLIENTS, 60);

  const faults = [
    ["of=mint&status=503&times=100"], ["of=mint&status=429&retry-after=0&times=100"], ["of=mint&drop&times=100"],
    ["of=mint&hang&times=50"], ["of=mint&slow=600&times=50"], ["of=mint&status=401&times=50"],
    ["of=gate&status=503&times=150"], ["of=gate&status=401&times=150"], ["of=gate&drop&times=150"], ["of=gate&hang&times=50"], ["of=gate&slow=700&times=50"],
    ["of=accepted&close=1013&times=150"], ["of=accepted&close=3000&times=75"], ["of=accepted&close=1011&times=150"], ["of=accepted&close=0&times=150"],
    [], [], [],
  ];
  const ways = ["reset", "1001", "1012", "3000", "1000"];
  let wave = 0;
  for (; opens < CLIENTS + RECONNECTS; wave++) {
    if (wave % 16 === 8) { // a crash, which forgets what was used, and a restart that heeds it
      await gateway.kill();
      await gateway.restart();
    } else {
      for (const fault of faults[Math.floor(random() * faults.length)]) await gateway.control(fault);
      await gateway.control("end=" + ways[wave % ways.length]);
    }
    for (const socket of ended.splice(0)) { // who gave up comes back as another
      sockets.delete(socket);
      sockets.add(begin());
    }
    const target = CLIENTS * (wave % 5 === 0 ? 1 : 0.7);
    await until(`wave ${wave}: ${target} are connected`, () => {
      for (const socket of ended.splice(0)) { sockets.delete(socket); sockets.add(begin()); }
      return open() >= target;
    }, 60);
  }
  closeAll();
  await until("all are closed", () => [...sockets].every((socket) => socket.readyState === 3));
  t.diagnostic(`${opens - CLIENTS} reconnects in ${wave} waves; the gateway refused ${JSON.stringify(gateway.refused)}`);
  t.diagnostic(JSON.stringify(counts));
  assert.equal(gateway.refused.replayed ?? 0, 0);
  assert.ok((gateway.refused.issued_before_start ?? 0) > 0, "the crashes were felt");
  assert.ok(counts["mintfailed 200"] > 50, "tickets that came again were not shown");
});
