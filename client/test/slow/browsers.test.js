// The client in real browsers against a real gateway.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { after, describe } from "node:test";
import { fileURLToPath } from "node:url";
import { Gateway, inBrowser, missing, onPath, slow, until } from "./programs.js";

const pages = fileURLToPath(new URL("./pages", import.meta.url));

const browsers = {
  chrome: { names: ["chromium", "chromium-browser", "google-chrome"], args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--disable-sync"] },
  firefox: { names: ["firefox-esr", "firefox"], args: [] },
};

// Short waits, so that a test takes seconds; all else is as a page has it.
const quick = { baseDelay: 300, maxDelay: 1_500 };

const running = [];

// Of the file and not of a suite, and by force where a browser does not go by itself: one
// that is left keeps the test from ending.
after(() => Promise.all(running.map(async (browser) => {
  const late = setTimeout(() => browser.process().kill("SIGKILL"), 10_000);
  await browser.close().catch(() => {});
  clearTimeout(late);
})));

// Both at once: most of the time is spent waiting.
describe("browsers", { skip: slow, concurrency: 2 }, () => Object.entries(browsers).forEach(([browser, { names, args }]) => {
  describe(browser, { timeout: 900_000 }, () => {
    let puppeteer, launched;

    /** A page of a gateway of its own, or undefined where there is no browser. */
    async function open(t, options) {
      const path = onPath(...names);
      if (!path) return missing(t, `no ${names[0]} on PATH; get it, for instance with: apt-get install ${names[0]}`), {};
      puppeteer ??= (await import("puppeteer-core")).default;
      if (!launched?.connected) running.push(launched = await puppeteer.launch({ browser, executablePath: path, args, headless: true, timeout: 120_000 }));
      const gateway = await Gateway.start({ files: pages, ...options });
      const page = await launched.newPage();
      t.after(() => page.close());
      page.setDefaultTimeout(120_000);
      const console = [];
      page.on("console", (message) => console.push(message.text()));
      page.on("pageerror", (error) => console.push(String(error)));
      await page.goto(gateway.url + "/");
      await page.waitForFunction("window.ready");
      const start = (options = {}) => page.evaluate((options) => window.start(options), { url: "/ws", ticketUrl: "/ticket", ...quick, ...options });
      const state = () => page.evaluate(() => window.state());
      const saw = (line, times = 1) => until(`${line} × ${times}`, async (seen) => {
        const { events } = await state();
        seen.last = events;
        return events.filter((seen) => seen === line).length >= times && events;
      }, 60);
      const says = async (text) => {
        await until("the socket is open", async () => (await state()).ready === 1);
        await page.evaluate((text) => window.socket.send(text), text);
        await saw("message " + text);
      };
      return { gateway, page, start, state, saw, says, console };
    }

    /** No ticket was shown twice, and none that had expired. */
    function clean(gateway) {
      assert.equal(gateway.refused.replayed ?? 0, 0, "replayed");
      assert.equal(gateway.refused.expired ?? 0, 0, "expired");
    }

    inBrowser("connects by query, and by subprotocol beside one of the application", async (t) => {
      const { gateway, start, state, says } = await open(t);
      if (!gateway) return;
      await start();
      await says("by query");
      assert.equal((await state()).protocol, "");
      await start({ protocols: ["app.v2", "app.v1"] });
      await says("by subprotocol");
      assert.equal((await state()).protocol, "app.v1");
      assert.equal((await gateway.stats()).verdicts.accepted, 2);
      clean(gateway);
    });

    inBrowser("the server is killed and comes back: so does the page, by itself", async (t) => {
      const { gateway, start, saw, says } = await open(t);
      if (!gateway) return;
      await start();
      await says("before");
      await gateway.kill();
      await saw("mintfailed 0"); // nobody listens
      await gateway.restart(); // which refuses tickets for its first seconds
      await saw("open", 2);
      await says("after");
      clean(gateway);
    });

    inBrowser("a drain (1001): the page comes back with another ticket", async (t) => {
      const { gateway, start, saw, says } = await open(t);
      if (!gateway) return;
      await start();
      await saw("open");
      await gateway.control("end=1001");
      await saw("close 1001");
      await says("again");
      const { mints, opened } = await gateway.stats();
      assert.deepEqual([mints, opened], [2, 2]);
      clean(gateway);
    });

    inBrowser("a session that is ended (3000): mint once more, and the mint says who it is", async (t) => {
      const { gateway, start, saw } = await open(t);
      if (!gateway) return;
      await start();
      await saw("open");
      await gateway.control("of=mint&status=401");
      await gateway.control("end=3000");
      assert.deepEqual(await saw("close 1006 for good"), ["open", "close 3000", "mintfailed 401", "mintfailed 401", "unauthorized", "close 1006 for good"]);
      assert.equal((await gateway.stats()).mints, 3);
    });

    inBrowser("a session that ends by the clock is renewed before, by a second socket", async (t) => {
      const { gateway, start, saw, state, says } = await open(t);
      if (!gateway) return;
      await gateway.control("session=5s");
      await start();
      await saw("open");
      await saw("open renewed");
      await gateway.control("session=1h");
      await says("still");
      await saw("open renewed", 2);
      await says("here");
      assert.ok(!(await state()).events.some((line) => line.startsWith("close")));
      assert.equal((await gateway.stats()).live, 1, "the first ones are closed");
      clean(gateway);
    });

    inBrowser("a renewal that is refused behind its open costs the page nothing, and is tried again", async (t) => {
      const { gateway, start, saw, state, says } = await open(t);
      if (!gateway) return;
      await gateway.control("session=20s");
      await start();
      await says("before");
      await gateway.control("of=accepted&close=3003&times=1");
      await until("the second is refused", async () => (await gateway.stats()).opened === 2);
      await says("over the first");
      assert.equal((await gateway.stats()).live, 1);
      await gateway.control("session=1h");
      await saw("open renewed");
      await says("over the third");
      assert.deepEqual((await state()).events, ["open", "message before", "message over the first", "open renewed", "message over the third"]);
      assert.equal((await gateway.stats()).opened, 3);
      clean(gateway);
    });

    inBrowser("refusals that a page can see: 101, and a close frame with 3000, 3003, 1013", async (t) => {
      const { gateway, start, saw } = await open(t);
      if (!gateway) return;
      await gateway.control("of=accepted&close=3003");
      await start();
      assert.deepEqual(await saw("close 3003 for good"), ["open", "forbidden", "close 3003 for good"]);
      await gateway.control("of=accepted&close=3000");
      await start();
      assert.deepEqual(await saw("close 3000 for good"), ["open", "close 3000", "open", "gaveup", "close 3000 for good"]);
      await gateway.control("of=accepted&close=1013&times=3");
      await start();
      assert.deepEqual(await saw("open", 4), ["open", "close 1013", "open", "close 1013", "open", "close 1013", "open"]);
      clean(gateway);
    });

    inBrowser("a mint that gives a ticket again: the page does not show it", async (t) => {
      const { gateway, start, saw, says } = await open(t);
      if (!gateway) return;
      await gateway.control("of=mint&same");
      await start();
      await saw("open");
      await gateway.control("end=1001");
      await saw("mintfailed 200", 2);
      await gateway.control("off=mint");
      await says("with one of its own");
      clean(gateway);
    });

    inBrowser("a ticket that somebody else has shown: refused, and the next is not", async (t) => {
      const { gateway, page, start, saw, says } = await open(t);
      if (!gateway) return;
      await gateway.control("of=mint&same");
      await page.evaluate(async (url) => {
        const { ticket } = await (await fetch("/ticket", { method: "POST" })).json();
        window.first = new WebSocket(url + "?ticket=" + ticket);
        await new Promise((done) => { window.first.onopen = done; });
      }, gateway.ws);
      await start();
      await saw("close 1006");
      await gateway.control("off=mint");
      await says("another");
      assert.equal(gateway.refused.replayed, 1);
    });

    inBrowser("a mint that is down: mintfailed, backoff, and then it works", async (t) => {
      const { gateway, start, saw, says } = await open(t);
      if (!gateway) return;
      await gateway.control("of=mint&drop");
      await start();
      const events = await saw("mintfailed 0", 3);
      assert.ok(events.every((line) => line === "mintfailed 0"));
      await gateway.control("off=mint");
      await says("up");
      clean(gateway);
    });

    inBrowser("a mint that answers 401, 403, 429 and 503", async (t) => {
      const { gateway, start, saw } = await open(t);
      if (!gateway) return;
      await gateway.control("of=mint&status=401");
      await start();
      assert.deepEqual(await saw("close 1006 for good"), ["mintfailed 401", "mintfailed 401", "unauthorized", "close 1006 for good"]);
      await gateway.control("of=mint&status=403");
      await start();
      assert.deepEqual(await saw("close 1006 for good"), ["mintfailed 403", "forbidden", "close 1006 for good"]);
      for (const status of [429, 503]) {
        await gateway.control(`of=mint&status=${status}&retry-after=2&times=1`);
        const began = Date.now();
        await start();
        assert.deepEqual(await saw("open"), ["mintfailed " + status, "open"]);
        assert.ok(Date.now() - began >= 2_000, "it waited");
      }
      clean(gateway);
    });

    inBrowser("offline, and online again", async (t) => {
      const { gateway, page, start, saw, says } = await open(t);
      if (!gateway) return;
      await start({ baseDelay: 500, maxDelay: 600_000 });
      await saw("open");
      await page.setOfflineMode(true);
      await gateway.control("end=reset");
      await saw("mintfailed 0", 4); // waits of minutes come near
      await page.setOfflineMode(false);
      await says("online");
      clean(gateway);
    });

    inBrowser("a hidden tab loses its connection and is seen again", async (t) => {
      const { gateway, page, start, saw, says } = await open(t);
      if (!gateway) return;
      await start({ baseDelay: 1_500 });
      await saw("open");
      const other = await launched.newPage();
      await other.bringToFront();
      assert.equal(await page.evaluate(() => document.visibilityState), "hidden");
      await gateway.control("of=gate&status=503&times=2");
      await gateway.control("end=1001");
      await saw("close 1006");
      await other.close();
      await page.bringToFront();
      await says("seen");
      clean(gateway);
    });

    inBrowser("a page that is left and gone back to is connected again", async (t) => {
      const { gateway, page, start, saw, says } = await open(t);
      if (!gateway) return;
      await start();
      await says("before");
      await page.goto(gateway.url + "/?elsewhere");
      await until("it has gone", async () => page.evaluate(() => location.search === "?elsewhere"));
      await gateway.control("end=reset"); // of what the browser may have kept
      await page.goBack();
      await page.waitForFunction("window.ready && location.search === ''");
      const kept = await page.evaluate(() => window.socket !== undefined);
      t.diagnostic(`${browser}: the page was ${kept ? "kept" : "loaded anew"}`);
      if (!kept) await start();
      await saw("open");
      await says("back");
      clean(gateway);
    });

    inBrowser("in a worker, which has no document", async (t) => {
      const { gateway, page } = await open(t);
      if (!gateway) return;
      await page.evaluate(() => {
        window.heard = [];
        window.worker = new Worker("/worker.js", { type: "module" });
        window.worker.onmessage = ({ data }) => window.heard.push(data);
      });
      const heard = (line, times = 1) => until(`${line} × ${times}`, async (seen) => {
        seen.last = await page.evaluate(() => window.heard);
        return seen.last.filter((heard) => heard === line).length >= times;
      });
      await heard("open");
      await page.evaluate(() => window.worker.postMessage("from the page"));
      await heard("message from the page");
      await gateway.control("end=reset");
      await heard("open", 2);
      clean(gateway);
    });

    inBrowser("a laptop sleeps while the mint answers: that ticket is left, another is minted", async (t) => {
      const { gateway, start, saw, says } = await open(t);
      if (!gateway) return;
      await gateway.control("of=mint&slow=3000&times=1");
      await start();
      await until("the mint was asked", async () => (await gateway.stats()).mints === 1);
      await asleep(launched, 6_500);
      await saw("open");
      await says("awake");
      const { mints, handshakes } = await gateway.stats();
      assert.deepEqual([mints, handshakes], [2, 1]);
      clean(gateway);
    });

    inBrowser("a laptop sleeps while the server restarts", async (t) => {
      const { gateway, start, saw, says } = await open(t);
      if (!gateway) return;
      await start();
      await saw("open");
      const sleep = asleep(launched, 7_000);
      await gateway.kill();
      await gateway.restart();
      await sleep;
      await saw("open", 2);
      await says("awake");
      clean(gateway);
    });

    inBrowser("close() during the handshake leaves nothing", async (t) => {
      const { gateway, page, start, saw, state } = await open(t);
      if (!gateway) return;
      await gateway.control("of=gate&slow=4000&times=1");
      await start();
      await until("the handshake has begun", async () => (await gateway.stats()).handshakes === 1);
      await page.evaluate(() => window.socket.close());
      assert.deepEqual(await saw("close 1006 for good"), ["close 1006 for good"]);
      await new Promise((done) => setTimeout(done, 5_000)); // what was to come would have
      assert.deepEqual((await state()).events, ["close 1006 for good"]);
      const { mints, handshakes, live } = await gateway.stats();
      assert.deepEqual([mints, handshakes, live], [1, 1, 0]);
    });

    inBrowser("the console and the events hold no ticket", async (t) => {
      const { gateway, page, start, saw, console } = await open(t);
      if (!gateway) return;
      await gateway.control("of=gate&status=403&times=1");
      await start({ protocols: "app.v1" });
      await saw("open");
      const shown = await page.evaluate(() => JSON.stringify([window.events, window.socket, window.socket.url, window.socket.protocol]));
      assert.ok(!shown.includes("eyJ"));
      // A browser itself names the URL of a handshake that failed: by subprotocol it has no ticket.
      assert.ok(!console.some((line) => line.includes("eyJ")), console.join("\n"));
    });

    inBrowser("a long outage: what the browser holds back by itself does not use up tickets", async (t) => {
      // Firefox puts attempts off that follow failed ones to the same host, longer each
      // time, while they look as if they were connecting.
      const { gateway, start, saw, says } = await open(t, { ttl: "2s" });
      if (!gateway) return;
      await gateway.control("of=gate&status=503");
      await start({ baseDelay: 100, maxDelay: 300, giveUpAfter: 1e9 });
      await new Promise((done) => setTimeout(done, 20_000));
      await gateway.control("off=gate");
      const before = (await gateway.stats()).mints;
      const began = Date.now();
      await saw("open");
      const { mints } = await gateway.stats();
      t.diagnostic(`${browser}: ${before} mints in 20 s, ${mints - before} more in the ${((Date.now() - began) / 1000).toFixed(1)} s until it was open`);
      await says("here");
      clean(gateway);
    });
  });
}));

/** Stops every process of the browser for so many milliseconds, as a lid that is closed does. */
async function asleep(browser, ms) {
  const family = descendants(browser.process().pid);
  for (const pid of family) signal(pid, "SIGSTOP");
  await new Promise((done) => setTimeout(done, ms));
  for (const pid of family) signal(pid, "SIGCONT");
}

function signal(pid, name) {
  try { process.kill(pid, name); } catch (error) { if (error.code !== "ESRCH") throw error; }
}

function descendants(pid) {
  const children = new Map();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const parent = +/\) \S (\d+)/.exec(readFileSync(`/proc/${name}/stat`, "utf8"))[1];
      children.set(parent, [...(children.get(parent) ?? []), +name]);
    } catch { /* it has ended */ }
  }
  const all = [pid];
  for (let i = 0; i < all.length; i++) all.push(...(children.get(all[i]) ?? []));
  return all;
}
