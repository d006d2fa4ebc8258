// The programs beside a slow test: the gateway that is built from ../gateway, and the
// rules for what is not there.
import { execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { accessSync, constants, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { after, test } from "node:test";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../../..", import.meta.url));
export const clientDir = join(root, "client");

const directories = [], running = new Set();

// Here, and not where they are made: there it would be the end of one test.
after(async () => {
  await Promise.all([...running].map((gateway) => gateway.kill()));
  for (const dir of directories) rmSync(dir, { recursive: true, force: true, maxRetries: 20 });
});

/** A directory that is gone when the tests of the file have ended. */
export function scratch() {
  const dir = mkdtempSync(join(tmpdir(), "wsticket-client-"));
  directories.push(dir);
  return dir;
}

/** Slow tests run when asked for; what is missing then is a skip, on a build server a failure. */
export const slow = process.env.WSTICKET_SLOW === "1" ? false : "slow: set WSTICKET_SLOW=1";

export function missing(t, what) {
  if (process.env.CI === "true") throw new Error(what);
  t.skip(what);
  return true;
}

/**
 * A test of a real browser, once more where it fails: a browser on a busy machine loses a
 * page now and then. What fails twice fails; what passes then says so, to be looked into.
 */
export function inBrowser(name, ...rest) {
  const run = rest.pop();
  test(name, ...rest, async (t) => {
    const attempt = async () => {
      const undo = [];
      try {
        await run({ diagnostic: (text) => t.diagnostic(text), skip: (why) => t.skip(why), after: (end) => undo.push(end) });
      } finally {
        for (const end of undo.reverse()) await end().catch(() => {}); // it may be gone
      }
    };
    try {
      await attempt();
    } catch (error) {
      t.diagnostic("FAILED AT THE FIRST TRY: " + error.stack);
      await attempt();
    }
  });
}

/** The first of the names that is on PATH. */
export function onPath(...names) {
  for (const name of names) {
    for (const dir of process.env.PATH.split(delimiter)) {
      try {
        accessSync(join(dir, name), constants.X_OK);
        return join(dir, name);
      } catch { /* not here */ }
    }
  }
}

let built;

/** A keyring of its own, and the gateway program, built once. */
export function build() {
  if (built) return built;
  const dir = scratch();
  built = { binary: join(dir, "gateway"), keys: join(dir, "keyring.json") };
  execFileSync("go", ["build", "-o", built.binary, "./client/test/gateway"], { cwd: root, stdio: ["ignore", "inherit", "inherit"] });
  writeFileSync(built.keys, JSON.stringify({ keys: [{ kty: "oct", kid: "test", alg: "HS256", k: randomBytes(32).toString("base64url") }] }), { mode: 0o600 });
  return built;
}

/** A running gateway, which may be killed and started again at the same address. */
export class Gateway {
  #child;
  refused = {}; // code → times, over all starts
  constructor(options) { this.options = options; }

  static async start(options = {}) {
    const gateway = new Gateway(options);
    running.add(gateway);
    for (let tries = 20; ; tries--) {
      // Not one that the system gives to outgoing connections: it could be gone at a restart.
      const port = 15_000 + Math.floor(Math.random() * 15_000);
      try {
        await gateway.begin("127.0.0.1:" + port, true);
        return gateway;
      } catch (error) {
        if (tries === 0) throw error;
      }
    }
  }

  async begin(listen, fresh) {
    const { binary, keys } = build();
    const { files, origins = [], ttl } = this.options;
    const args = ["-keys", keys, "-listen", listen];
    if (fresh) args.push("-fresh");
    if (files) args.push("-files", files);
    if (ttl) args.push("-ttl", ttl);
    for (const origin of origins) args.push("-origin", origin);
    const child = this.#child = spawn(binary, args, { stdio: ["ignore", "pipe", "pipe"] });
    this.ended = new Promise((done) => child.once("close", done));
    createInterface({ input: child.stderr }).on("line", (line) => {
      const code = /^refused (\w+)$/.exec(line)?.[1];
      if (code) this.refused[code] = (this.refused[code] ?? 0) + 1;
      else if (!/^http: |address already in use/.test(line)) process.stderr.write(line + "\n");
    });
    const [line] = await Promise.race([
      new Promise((done) => createInterface({ input: child.stdout }).once("line", (line) => done([line]))),
      this.ended.then(() => { throw new Error("the gateway did not start"); }),
    ]);
    this.url = line.slice("listening on ".length);
    this.address = this.url.slice("http://".length);
    this.ws = "ws://" + this.address + "/ws";
  }

  async kill() {
    this.#child.kill("SIGKILL");
    await this.ended;
  }

  /** A start after kill: it takes no tickets of the first seconds, unless it is said to be fresh. */
  restart(fresh = false) { return this.begin(this.address, fresh); }

  async control(query) {
    const response = await fetch(`${this.url}/control?${query}`, { method: "POST" });
    if (!response.ok) throw new Error(`control ${query}: ${response.status}`);
  }

  async stats() { return (await fetch(this.url + "/stats")).json(); }
}

/** Polls until look returns something, and fails after a while with what it saw last. */
export async function until(what, look, seconds = 60) {
  const deadline = Date.now() + seconds * 1000;
  const note = {};
  for (;;) {
    const seen = await look(note);
    if (seen) return seen;
    if (Date.now() > deadline) throw new Error(`not within ${seconds} s: ${what}; last: ${JSON.stringify(note.last)}`);
    await new Promise((done) => setTimeout(done, 25));
  }
}
