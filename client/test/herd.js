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

/** Runs all scenarios, each with the client as it is and with the usual backoff. */
export async function measure(connect, other, seed = 1) {
  const results = [];
  for (const scenario of SCENARIOS) {
    const row = { ...scenario };
    for (const [name, client] of [["wsticket", connect], ["usual", other]]) {
      const arrivals = await herd(client, scenario, { seed });
      row[name] = { peak: { mint: +peak(arrivals.mint).toFixed(2), gateway: +peak(arrivals.gateway).toFixed(2) }, arrivals };
    }
    results.push(row);
  }
  return { clients: CLIENTS, seed, scenarios: results };
}

/** One small chart for each scenario: arrivals at the mint in each second, and three times their mean. */
export function draw({ clients, scenarios }) {
  const width = 860, columns = 2, cell = width / columns, height = 190, top = 66;
  const rows = Math.ceil(scenarios.length / columns);
  const out = [];
  const text = (x, y, words, more = "") => out.push(`<text x="${x}" y="${y}"${more}>${words.replace(/&/g, "&amp;").replace(/</g, "&lt;")}</text>`);
  text(16, 24, `${clients.toLocaleString("en-US")} clients lose their server at once: requests at the mint, each second from when it is back`, ' class="title"');
  out.push('<rect x="16" y="37" width="12" height="10" class="ours"/>');
  text(33, 46, "@wsticket/client");
  out.push('<path d="M150 42h14" class="usual"/>');
  text(170, 46, "the usual backoff (0 to 1, 2, 4 … s)");
  out.push('<path d="M402 42h14" class="limit"/>');
  text(422, 46, "three times the mean of @wsticket/client");
  scenarios.forEach((scenario, i) => {
    const left = (i % columns) * cell + 52, y0 = top + Math.floor(i / columns) * height, bottom = y0 + height - 38, wide = cell - 76;
    const ours = scenario.wsticket.arrivals.mint, usual = scenario.usual.arrivals.mint;
    const seconds = Math.max(ours.length, usual.length), mean = ours.reduce((a, b) => a + b, 0) / ours.length;
    const most = Math.max(...ours, ...usual, 3 * mean), step = wide / seconds, scale = (height - 70) / most;
    const x = (s) => +(left + s * step).toFixed(1), y = (n) => +(bottom - n * scale).toFixed(1);
    text(left - 36, y0 + 14, scenario.name, ' class="name"');
    text(left - 6, y(most) + 4, String(Math.round(most)), ' class="tick" text-anchor="end"');
    text(left - 6, bottom, "0", ' class="tick" text-anchor="end"');
    text(left, bottom + 13, "0 s", ' class="tick"');
    text(left + wide, bottom + 13, seconds + " s", ' class="tick" text-anchor="end"');
    ours.forEach((n, s) => out.push(`<rect x="${x(s)}" y="${y(n)}" width="${+Math.max(step - 1, 1).toFixed(1)}" height="${+(n * scale).toFixed(1)}" class="ours"/>`));
    out.push(`<path d="M${usual.map((n, s) => `${x(s)} ${y(n)}H${x(s + 1)}`).join("L")}" class="usual"/>`);
    out.push(`<path d="M${left} ${y(3 * mean)}H${x(ours.length)}" class="limit"/>`);
    out.push(`<path d="M${left} ${bottom}h${wide}" class="axis"/>`);
  });
  const high = top + rows * height;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${high}" role="img" aria-labelledby="t">
<title id="t">Requests at the mint per second after a restart, for ${scenarios.length} kinds of failure: @wsticket/client stays below three times its mean, the usual backoff does not</title>
<style>
svg { background: #fff; font: 12px system-ui, sans-serif; }
text { fill: #1b2321; } .title { font-size: 15px; font-weight: 600; } .name { font-weight: 600; } .tick { fill: #55605c; font-size: 11px; }
.ours { fill: #1f6b57; } .usual { fill: none; stroke: #c2571a; stroke-width: 1.4; } .limit { stroke: #55605c; stroke-dasharray: 4 3; } .axis { stroke: #aab3ae; }
</style>
${out.join("\n")}
</svg>
`;
}

/** The results as JSON, a list a line. */
export const written = (results) => JSON.stringify(results, (key, value) => Array.isArray(value) && typeof value[0] === "number" ? value.join(" ") : value, 1) + "\n";

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { mkdtempSync, rmSync } = await import("node:fs");
  const { connect } = await import(new URL("../index.js", import.meta.url));
  const dir = mkdtempSync("/tmp/herd-");
  const results = await measure(connect, await usual(dir));
  rmSync(dir, { recursive: true });
  const docs = new URL("../../docs/", import.meta.url);
  writeFileSync(new URL("client-herd.json", docs), written(results));
  writeFileSync(new URL("client-herd.svg", docs), draw(results));
  for (const { name, wsticket, usual } of results.scenarios) {
    console.log(`| ${name} | ${wsticket.peak.mint} | ${wsticket.peak.gateway} | ${usual.peak.mint} | ${usual.peak.gateway} |`);
  }
}
