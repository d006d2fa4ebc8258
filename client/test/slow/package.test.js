// The package as others get it: packed, installed from the tarball, and used in each
// runtime, by a bundler, by TypeScript and in a page.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { clientDir, Gateway, inBrowser, missing, onPath, root, scratch, slow, until } from "./programs.js";

const modules = join(clientDir, "test", "node_modules");
const how = "npm ci in client/test gets it";

/** A module of client/test, or undefined where it was not installed. */
const installed = (t, name) => existsSync(join(modules, name)) ? join(modules, name) : missing(t, `${name} is missing; ${how}`) && undefined;

let packed;

/** A project with the package in it, from the tarball. */
function project() {
  if (packed) return packed;
  const dir = scratch();
  const out = execFileSync("npm", ["pack", "--json", "--pack-destination", dir], { cwd: clientDir, encoding: "utf8" });
  let [{ filename, files, size }] = Object.values(JSON.parse(out));
  packed = { dir, files: files.map((file) => file.path).sort(), size };
  writeFileSync(join(dir, "package.json"), '{"name":"consumer","private":true,"type":"module"}');
  execFileSync("npm", ["install", "--offline", "--no-audit", "--no-fund", "--legacy-peer-deps", join(dir, filename)], { cwd: dir, stdio: ["ignore", "ignore", "inherit"] });
  return packed;
}

/** Makes a module of client/test one of the project's. */
function lend(dir, ...names) {
  for (const name of names) {
    const to = join(dir, "node_modules", name);
    mkdirSync(join(to, ".."), { recursive: true });
    if (!existsSync(to)) symlinkSync(join(modules, name), to);
  }
}

test("the tarball holds the package and nothing else", { skip: slow }, (t) => {
  const { dir, files } = project();
  assert.deepEqual(files, ["CHANGELOG.md", "LICENSE", "README.md", "index.d.ts", "index.js", "package.json", "react.d.ts", "react.js"]);
  const there = join(dir, "node_modules", "@wsticket", "client");
  for (const name of files) assert.equal(readFileSync(join(there, name), "utf8"), readFileSync(join(clientDir, name), "utf8"), name);
  assert.deepEqual(readdirSync(join(dir, "node_modules")).filter((name) => !name.startsWith(".")), ["@wsticket"], "it brings nothing along");
});

test("2,500 bytes, minified and gzipped", { skip: slow }, async (t) => {
  if (!installed(t, "esbuild")) return;
  const { build } = await import("esbuild");
  const { dir } = project();
  const bundle = async (contents) => (await build({
    stdin: { contents, resolveDir: dir }, bundle: true, minify: true, format: "esm", write: false, external: ["react"], logLevel: "silent",
  })).outputFiles[0].contents;
  const bytes = gzipSync(await bundle('export { connect } from "@wsticket/client"'), { level: 9 }).length;
  t.diagnostic(`${bytes} bytes`);
  assert.ok(bytes <= 2_500, `${bytes} bytes`);
  const hook = gzipSync(await bundle('export { useTicketSocket } from "@wsticket/client/react"'), { level: 9 }).length;
  t.diagnostic(`with the hook ${hook} bytes`);
  assert.equal((await bundle('import "@wsticket/client"')).length, 0, "sideEffects: false lets a bundler leave out what is not used");
});

const ran = ["open", "message text", "message binary 1,2,3", "close 1001", "open", "message again", "close 1006", "error", "close 1006", "error", "close 1006", "open", "message and again", "close 1001"];

for (const [name, find, args = [], tail = []] of [
  ["this Node, with the ws of npm", () => process.execPath, [], ["ws"]],
  ["Node 22", (t) => installed(t, "node22-linux-x64") + "/bin/node"],
  ["Bun", (t) => installed(t, "bun-linux-x64") + "/bin/bun"],
  ["Deno", (t) => installed(t, "deno-linux-x64") + "/deno", ["run", "--no-lock", "--allow-net", "--allow-read", "--allow-env"]],
]) {
  test(`in ${name}`, { skip: slow, timeout: 300_000 }, async (t) => {
    const runtime = find(t);
    if (!existsSync(runtime) || tail[0] && !installed(t, "ws")) return;
    const { dir } = project();
    lend(dir, "ws");
    copyFileSync(new URL("./consumer.mjs", import.meta.url), join(dir, "consumer.mjs"));
    const gateway = await Gateway.start();
    const { stdout, stderr, status } = await run(runtime, [...args, "consumer.mjs", gateway.url, ...tail], dir);
    assert.equal(status, 0, stderr);
    const events = JSON.parse(stdout);
    // npm's ws tells the status of a handshake, so 403 is the end; to others it is one more 1006.
    const want = tail[0] ? [...ran.map((line) => line), "error", "forbidden 403", "close 1006 403"] : [...ran, "error", "close 1006", "close 1006"];
    assert.deepEqual(events.map((line) => line.replace(/^close 1006 503$/, "close 1006")), want);
    assert.equal(gateway.refused.replayed, undefined);
    assert.ok(!stdout.includes("eyJ") && !stderr.includes("eyJ"));
  });
}

function run(program, args, cwd) {
  return new Promise((done) => {
    import("node:child_process").then(({ execFile }) => {
      execFile(program, args, { cwd, encoding: "utf8", timeout: 250_000 }, (error, stdout, stderr) => done({ stdout, stderr, status: error?.code ?? (error ? 1 : 0) }));
    });
  });
}

/** The pieces of a page in one language. */
const pieces = (text, language) => [...text.matchAll(new RegExp("^```" + language + "\\n(.*?)^```", "gms"))].map(([, code]) => code);
const readme = readFileSync(join(clientDir, "README.md"), "utf8");
const page = readFileSync(join(root, "docs", "client.md"), "utf8");

for (const compiler of ["typescript", "typescript5"]) {
  test(`${compiler}: tsc --noEmit --strict over the types and every example`, { skip: slow, timeout: 600_000 }, (t) => {
    const tsc = installed(t, compiler);
    if (!tsc) return;
    const { dir } = project();
    lend(dir, "ws", "react", "@types/react", "@types/react-dom", "@types/ws", "csstype", "undici-types");
    const work = join(dir, "types-" + compiler);
    mkdirSync(work, { recursive: true });
    const write = (name, text) => writeFileSync(join(work, name), text);
    write("readme.tsx", pieces(readme, "tsx")[0]);
    // What the pieces take for granted of the application.
    const given = `declare const process: any, csrfToken: string;
declare function show(text: string): void;
declare function mintForService(): { ticket: string };
declare function stored(): string;
declare function refresh(): Promise<string>;
`;
    const js = [...pieces(page, "js"), ...pieces(readme, "js"), pieces(readme, "html")[0].match(/<script type="module">(.*)<\/script>/s)[1]];
    assert.equal(js.length, 11);
    js.forEach((code, i) => {
      if (code.includes("self.onconnect")) return; // of a worker, which has other globals
      code = code.replace('"/wsticket.js"', '"@wsticket/client"');
      if (!code.includes("import { connect }")) code = 'import { connect } from "@wsticket/client"\n' + code;
      const access = code.includes("accessToken =") ? "" : 'declare function accessToken(): string;\n';
      const socket = code.includes("socket =") ? "" : 'const socket = connect({ url: "/", ticketUrl: "/" });\n';
      const [, imports, rest] = /^((?:\s*import [^\n]*\n)*)(.*)$/s.exec(code);
      write(`piece${i}.ts`, imports + given + access + socket + rest.replace(/document\.getElementById\("text"\)\.value/, '(document.getElementById("text") as HTMLInputElement).value')
        .replace(/document\.getElementById\("(\w+)"\)(?! as)/g, "$&!"));
    });
    write("types.ts", `
import { connect, type ConnectOptions, type EndEvent, type GetTicket, type MintedTicket, type TicketSocket } from "@wsticket/client";
import { useTicketSocket } from "@wsticket/client/react";
import { WebSocket as NodeWebSocket } from "ws";

const getTicket: GetTicket = async ({ attempt, signal }) => attempt > 1 ? fetch("/ticket", { signal }) : { ticket: "t", expires_in: 10, url: "/other" };
const socket: TicketSocket = connect({ url: new URL("wss://a/"), getTicket, protocols: ["a"], carrier: "query", signal: new AbortController().signal, buffer: 1, WebSocket, timeout: 1, baseDelay: 1, maxDelay: 1, stableAfter: 1, giveUpAfter: Infinity });
connect({ url: "/ws", ticketUrl: "/ticket", WebSocket: NodeWebSocket, renew: async (minted: MintedTicket, open: TicketSocket) => open.send(minted.ticket) });
const target: EventTarget = socket;
socket.addEventListener("close", (event: EndEvent) => { const wait: number | undefined = event.retryIn; return [wait, event.code.toFixed(), event.status, event.error]; });
socket.addEventListener("open", (event) => event.renewed && event.attempt.toFixed());
socket.addEventListener("message", (event) => event.data);
socket.addEventListener("anything", (event: Event) => event.type, { once: true });
socket.onmintfailed = (event) => event.status?.toFixed();
socket.onclose = null;
socket.binaryType = "arraybuffer";
socket.send(new Uint8Array(1));
socket.close(1000, "done");
const hook = useTicketSocket({ url: "/ws", ticketUrl: "/ticket", enabled: false, onMessage: (event, open) => open.send(event.data) });
if (hook.status === "open") hook.socket?.close();
export const options: ConnectOptions = { url: "/", ticketUrl: "/" };
export { target };
// What may be left out may be undefined too, with exactOptionalPropertyTypes.
const none = undefined;
connect({ url: "/ws", ticketUrl: "/ticket", protocols: none, carrier: none, renew: none, signal: none, buffer: none, WebSocket: none, timeout: none, baseDelay: none, maxDelay: none, stableAfter: none, giveUpAfter: none });
connect({ url: "/ws", getTicket: async () => ({ ticket: "t", expires_in: none, url: none }) });
useTicketSocket({ url: "/ws", ticketUrl: "/ticket", enabled: none, onOpen: none, onMessage: none, onClose: none });
declare const thenable: PromiseLike<MintedTicket>, offered: readonly string[];
connect({ url: "/ws", getTicket: () => thenable, protocols: offered });
socket.addEventListener("message", (event: MessageEvent) => event.data);
socket.addEventListener("close", { handleEvent(event: Event) { return event.type; } });
socket.removeEventListener("close", null);
export const like: Pick<globalThis.WebSocket, "send" | "close" | "readyState" | "url" | "protocol" | "bufferedAmount" | "binaryType"> = socket;

// @ts-expect-error: neither ticketUrl nor getTicket
connect({ url: "/ws" });
// @ts-expect-error: both
connect({ url: "/ws", ticketUrl: "/ticket", getTicket });
// @ts-expect-error: no url
connect({ getTicket });
// @ts-expect-error: no such carrier
connect({ url: "/ws", getTicket, carrier: "cookie" });
// @ts-expect-error: a mint that gives no ticket
connect({ url: "/ws", getTicket: async () => ({ expires_in: 10 }) });
// @ts-expect-error: read only
socket.readyState = 1;
// @ts-expect-error: no such status
hook.status === "closing";
`);
    write("tsconfig.json", JSON.stringify({ compilerOptions: {
      strict: true, noEmit: true, module: "nodenext", moduleResolution: "nodenext", target: "es2022", lib: ["es2022", "dom", "dom.iterable"], jsx: "react-jsx", types: [], skipLibCheck: false, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true,
    }, include: ["*"] }));
    const { status, stdout } = spawnSync(process.execPath, [join(tsc, "bin", "tsc"), "-p", work], { encoding: "utf8", cwd: work });
    assert.equal(status, 0, stdout);
    // A program for Node, without the names of a page.
    lend(dir, "@types/node");
    mkdirSync(join(work, "node"));
    write("node/program.ts", pieces(readme, "js")[0] + `
socket.addEventListener("close", ({ code, retryIn }) => [code.toFixed(), retryIn], { once: true });
socket.addEventListener("anything", (event) => event.type);
socket.binaryType = "arraybuffer";
export const target: EventTarget = socket;
`);
    write("node/tsconfig.json", JSON.stringify({ compilerOptions: {
      strict: true, noEmit: true, module: "nodenext", target: "es2022", lib: ["es2022"], types: ["node"], skipLibCheck: false, exactOptionalPropertyTypes: true,
    } }));
    const node = spawnSync(process.execPath, [join(tsc, "bin", "tsc"), "-p", join(work, "node")], { encoding: "utf8", cwd: work });
    assert.equal(node.status, 0, node.stdout);
    // And it is no empty check: a fault is found.
    write("fault.ts", 'import { connect } from "@wsticket/client";\nconnect({ url: 1, ticketUrl: "/" });\n');
    assert.notEqual(spawnSync(process.execPath, [join(tsc, "bin", "tsc"), "-p", work], { cwd: work }).status, 0);
  });
}

test("JSR takes it", { skip: slow, timeout: 300_000 }, (t) => {
  const deno = installed(t, "deno-linux-x64");
  if (!deno) return;
  const dir = scratch();
  for (const name of [...JSON.parse(readFileSync(join(clientDir, "jsr.json"), "utf8")).publish.include]) copyFileSync(join(clientDir, name), join(dir, name));
  const { status, stderr } = spawnSync(join(deno, "deno"), ["publish", "--dry-run", "--allow-dirty"], { cwd: dir, encoding: "utf8", env: { ...process.env, NO_COLOR: "1" } });
  assert.equal(status, 0, stderr);
  assert.match(stderr, /Dry run complete/);
});

const browsers = { chrome: ["chromium", "chromium-browser", "google-chrome"], firefox: ["firefox-esr", "firefox"] };

for (const [browser, names] of Object.entries(browsers)) {
  inBrowser(`in ${browser}: the page of the README, the installed files, and the hook under StrictMode`, { skip: slow, timeout: 600_000 }, async (t) => {
    const executablePath = onPath(...names);
    if (!executablePath) return void missing(t, `no ${names[0]} on PATH; get it, for instance with: apt-get install ${names[0]}`);
    if (!installed(t, "puppeteer-core") || !installed(t, "esbuild")) return;
    const { build } = await import("esbuild");
    const puppeteer = (await import("puppeteer-core")).default;
    const { dir } = project();
    lend(dir, "react", "react-dom", "scheduler", "react18", "react-dom18", "loose-envify", "js-tokens");
    const site = scratch();
    // The page as it stands, whose /wsticket.js the gateway has; one with the installed files; and bundles.
    writeFileSync(join(site, "readme.html"), pieces(readme, "html")[0]);
    mkdirSync(join(site, "package"));
    copyFileSync(join(dir, "node_modules", "@wsticket", "client", "index.js"), join(site, "package", "index.js"));
    writeFileSync(join(site, "installed.html"), `<!doctype html><script type="importmap">{"imports":{"@wsticket/client":"/package/index.js"}}</script>
<script type="module">import { connect } from "@wsticket/client"; window.socket = connect({ url: "/ws", ticketUrl: "/ticket" }); window.socket.onmessage = (e) => { window.heard = e.data; };</script>`);
    writeFileSync(join(dir, "app.tsx"), pieces(readme, "tsx")[0] + `
import { StrictMode } from "react"
import { createRoot } from "react-dom/client"
const root = createRoot(document.getElementById("root")!)
const render = (room: string | null) => root.render(<StrictMode>{room && <Chat room={room} />}</StrictMode>)
function Switch({ on }: { on: boolean }) {
  const { status } = useTicketSocket({ url: "/ws", ticketUrl: "/ticket", enabled: on })
  return <output>{status}</output>
}
const toggle = (on: boolean) => root.render(<StrictMode><Switch on={on} /></StrictMode>)
Object.assign(window, { render, toggle })
render("one")
`);
    for (const version of ["", "18"]) {
      await build({
        entryPoints: [join(dir, "app.tsx")], bundle: true, format: "esm", jsx: "automatic", jsxDev: true, outfile: join(site, `react${version}.js`), define: { "process.env.NODE_ENV": '"development"' },
        alias: version ? { react: "react18", "react-dom": "react-dom18" } : {}, logLevel: "silent",
      });
      writeFileSync(join(site, `react${version}.html`), `<!doctype html><div id="root"></div><script type="module" src="/react${version}.js"></script>`);
    }
    const gateway = await Gateway.start({ files: site });
    const launched = await puppeteer.launch({ browser, executablePath, args: browser === "chrome" ? ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] : [], headless: true, timeout: 120_000 });
    t.after(() => launched.close());
    const faults = [];
    let tab;
    // Each page in a tab of its own: Chromium keeps the sockets of a page that one can go back to.
    const visit = async (path) => {
      const before = tab;
      tab = await launched.newPage();
      await before?.close();
      tab.setDefaultTimeout(120_000);
      tab.on("pageerror", (error) => faults.push(String(error)));
      await tab.goto(gateway.url + path);
    };

    await visit("/readme.html");
    await tab.waitForFunction('document.getElementById("state").textContent === "connected"');
    await tab.type("#text", "from the page");
    await tab.keyboard.press("Enter");
    await tab.waitForFunction('document.getElementById("log").textContent === "from the page"');

    await visit("/installed.html");
    await tab.waitForFunction("window.socket?.readyState === 1");
    await tab.evaluate(() => window.socket.send("installed"));
    await tab.waitForFunction('window.heard === "installed"');

    for (const version of ["", "18"]) {
      const before = await gateway.stats();
      await visit(`/react${version}.html`);
      await tab.waitForFunction('document.querySelector("button")?.disabled === false');
      await tab.click("button");
      await tab.waitForFunction('document.querySelector("li")?.textContent === "hello"');
      assert.equal((await gateway.stats()).mints - before.mints, 1, `React ${version || 19}: one ticket under StrictMode`);
      await tab.evaluate(() => window.render("two")); // another url, another socket
      await until("the first socket is gone and the second is there", async (note) => {
        const { opened, live } = note.last = await gateway.stats();
        return opened - before.opened === 2 && live === 1; // the second may have minted while the first still closes
      });
      await gateway.control("end=1001");
      await until("it came back", async (note) => {
        const { opened, live } = note.last = await gateway.stats();
        return opened - before.opened === 3 && live === 1;
      });
      await tab.waitForFunction('document.querySelector("button")?.disabled === false');
      await tab.evaluate(() => window.render(null));
      await until("it is gone with the component", async () => (await gateway.stats()).live === 0);
      await tab.evaluate(() => window.render("three"));
      await tab.waitForFunction('document.querySelector("button")?.disabled === false');
      await gateway.control("of=mint&status=401");
      await gateway.control("end=3000");
      await tab.waitForFunction('document.querySelector("a")?.textContent === "Log in"');
      await gateway.control("off=mint");

      const shows = (status) => tab.waitForFunction((status) => document.querySelector("output")?.textContent === status, {}, status);
      await tab.evaluate(() => window.toggle(false));
      await shows("closed");
      const asked = (await gateway.stats()).mints;
      await tab.evaluate(() => window.toggle(true));
      await shows("open");
      await tab.evaluate(() => window.toggle(false)); // as when somebody logs out
      await shows("closed");
      await until("its socket is gone", async () => (await gateway.stats()).live === 0);
      await tab.evaluate(() => window.toggle(true));
      await shows("open");
      assert.equal((await gateway.stats()).mints - asked, 2, "a ticket each time it is enabled");
    }
    assert.deepEqual(faults, []);
    assert.equal(gateway.refused.replayed, undefined);
  });
}
