// The package as others get it: packed, installed from the tarball, and used in each
// runtime, by a bundler, by TypeScript and in a page.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { clientDir, Gateway, missing, onPath, root, scratch, slow, until } from "./programs.js";

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
  test(`in ${name}`, { skip: slow, timeout: 120_000 }, async (t) => {
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
      execFile(program, args, { cwd, encoding: "utf8", timeout: 100_000 }, (error, stdout, stderr) => done({ stdout, stderr, status: error?.code ?? (error ? 1 : 0) }));
    });
  });
}
