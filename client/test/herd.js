// A thousand clients lose their server at the same moment. They are the real client
// against a clock that stands until it is moved, so that an hour takes seconds and each
// run is the same. Here is what arrives at the mint and at the gateway, second by second.
//
//	node client/test/herd.js     writes docs/client-herd.json and docs/client-herd.svg anew
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";
import { install, seeded } from "./unit/world.js";

export const CLIENTS = 1000;

/** What goes wrong: all connections end, nothing answers for `down` seconds, and for `refusing` more the gateway takes no ticket. */
export const SCENARIOS = [
  { name: "restart, 3 s", down: 3, refusing: 0 },
  { name: "restart, 10 s", down: 10, refusing: 0 },
  { name: "outage, 60 s", down: 60, refusing: 0 },
  { name: "restart, 3 s, then 5 s of refusals", down: 3, refusing: 5 },
  { name: "drain (1001), the next server is there", down: 0, refusing: 0, code: 1001 },
  { name: "the gateway alone: 5 s of refusals, the mint is up", down: 0, refusing: 5 },
];

/** Runs one scenario, and returns the arrivals in each second from when the server is back until all clients are. */
export async function herd(connect, { down, refusing, code = 1006 }, { seed = 1, options = {}, clients = CLIENTS } = {}) {
  const undo = [];
  const world = install({ after: (run) => undo.push(run) });
  try {
    const arrivals = { mint: [], gateway: [] };
    let lost, minted = 0;
    const count = (where) => {
      const second = (world.clock.ran - lost) / 1000 - down;
      if (second >= 0) arrivals[where][Math.floor(second)] = (arrivals[where][Math.floor(second)] ?? 0) + 1;
    };
    const isDown = () => lost !== undefined && world.clock.ran < lost + down * 1000;
    world.random = seeded(seed);
    const after = (ms, run) => world.clock.setTimeout(run, ms);
    const getTicket = () => new Promise((done, fail) => {
      if (isDown()) return fail(new TypeError("Failed to fetch"));
      if (lost !== undefined) count("mint");
      const ticket = "t" + ++minted;
      after(20, () => done({ ticket, expires_in: 10 }));
    });
    world.serve = (socket) => {
      if (isDown()) return socket.refuse();
      if (lost !== undefined) count("gateway");
      after(20, () => {
        if (lost !== undefined && world.clock.ran < lost + (down + refusing) * 1000) socket.refuse();
        else socket.accept();
      });
    };
    const sockets = Array.from({ length: clients }, () => connect({ url: "wss://gw.example/ws", getTicket, ...options }));
    await world.clock.pass(60_000);
    if (!sockets.every((socket) => socket.readyState === 1)) throw new Error("not all are connected");
    lost = world.clock.ran;
    for (const socket of [...world.sockets]) socket.end(code);
    let seconds = 0;
    do {
      await world.clock.pass(1_000);
      if (++seconds > 3_600) throw new Error("they do not come back within an hour");
    } while (!sockets.every((socket) => socket.readyState === 1));
    for (const list of Object.values(arrivals)) for (let i = 0; i < list.length; i++) list[i] ??= 0;
    if (world.replayed > 0) throw new Error(`${world.replayed} tickets were shown twice`);
    for (const socket of sockets) socket.close();
    await world.clock.pass(1_000);
    return arrivals;
  } finally {
    for (const run of undo) run();
  }
}

/** The fullest second over the mean of all. */
export const peak = (list) => Math.max(...list) / (list.reduce((sum, n) => sum + n, 0) / list.length);

/** The client with the backoff that is usual elsewhere: each wait is anywhere between 0 and 1, 2, 4, … seconds. */
export async function usual(dir) {
  const file = fileURLToPath(new URL("../index.js", import.meta.url));
  const changed = readFileSync(file, "utf8")
    .replace("baseDelay * 1.25 ** failures++", "1_000 * 2 ** failures++")
    .replace("Math.min(slotEnd, now + maxDelay)", "0");
  if (!changed.includes("2 ** failures++") || changed.includes("Math.min(slotEnd")) throw new Error("index.js has changed; see what usual replaces");
  writeFileSync(`${dir}/usual.mjs`, changed);
  return (await import(pathToFileURL(`${dir}/usual.mjs`))).connect;
}
