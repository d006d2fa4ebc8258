// Breaks the client on purpose, in a copy, and wants the tests of ../unit to fail: each
// line taken out, and each of the changes below.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { clientDir, scratch, slow } from "./programs.js";

const source = readFileSync(join(clientDir, "index.js"), "utf8");

// By the points of what the client promises, which docs/client.md explains.
const MUTANTS = [
  ["1: one ticket for all attempts", "minted = await mint(control.signal);", "minted = globalThis.kept ??= await mint(control.signal);"],
  ["1: attempts are not counted", "    attempts++;\n", "    attempts = 1;\n"],
  ["1: getTicket gets no signal", "signal: abort })\n        :", "})\n        :"],
  ["1: fetch gets no signal", 'credentials: "include", signal: abort', 'credentials: "include"'],
  ["1: no cookies", 'credentials: "include", ', ""],
  ["1: GET", '{ method: "POST", ', "{ "],
  ["2: a late ticket is used", "        if (over) return;\n        age", "        age"],
  ["2: the attempt's signal is not aborted", "control.abort(); ", ""],
  ["2: a socket that was left is not closed", "control.abort(); ws?.close();", "control.abort();"],
  ["2: the mint has no deadline", "    after(timeout, expire);\n", ""],
  ["3: 401 is the end at once", "401: 2", "401: 1"],
  ["3: 401 is tried twice more", "401: 2", "401: 3"],
  ["3: 403 is tried again", "403: 1", "403: 2"],
  ["3: 400 is tried again", "400: 1", "400: 2"],
  ["3: a failed mint is silent", 'if (minting) emit("mintfailed", how);\n    else if', "if (minting) ;\n    else if"],
  ["3: unauthorized is gaveup", '"unauthorized"', '"gaveup"'],
  ["3: Retry-After is not heeded", "? 5_000 : how.wait);", "? 5_000 : 0);"],
  ["3: Retry-After in place of jitter", "Math.random() * width - now;", "(notBefore > now ? 0 : Math.random() * width) - now;"],
  ["3: Retry-After as a date is not read", "|| Date.parse(advice) - since || 0", "|| 0"],
  ["3: Retry-After without bound", ", 3_600_000)", ", Infinity)"],
  ["3: retryAfter of an error is not read", " ?? from?.retryAfter", ""],
  ["3: response of an error is not read", "refuse(error?.response ?? error, error)", "refuse(error, error)"],
  ["3: the status of an answer without a ticket is not read", "const { ticket, status = 200 } = minted || 0;", "const { ticket } = minted || 0, status = 200;"],
  ["3: an answer that is not ok is read", "if (!minted.ok) refuse(minted);", ""],
  ["4: no jitter", "slot + Math.random() * width - now", "slot + width - now"],
  ["4: half jitter", "slot + Math.random() * width - now", "slot + (1 + Math.random()) / 2 * width - now"],
  ["4: no growth", "1.25 ** failures++", "1 ** failures++"],
  ["4: double growth", "1.25 ** failures++", "2 ** failures++"],
  ["4: no cap", "Math.min(maxDelay, baseDelay * ", "(baseDelay * "],
  ["4: slots begin at each failure", "Math.max(now, notBefore, Math.min(slotEnd, now + maxDelay))", "Math.max(now, notBefore)"],
  ["4: a clock set back stretches the wait", "Math.min(slotEnd, now + maxDelay)", "slotEnd"],
  ["4: open resets", "opened = true;\n", "opened = true; failures = slotEnd = 0;\n"],
  ["4: open never resets", "after(stableAfter, () => { failures = slotEnd = same = 0; });", ""],
  ["4: a message does not reset", "        failures = slotEnd = 0;\n        emit(\"message\"", "        emit(\"message\""],
  ["5: 3000 is the end at once", "3000: 2", "3000: 1"],
  ["5: 3000 is tried twice more", "3000: 2", "3000: 3"],
  ["5: 3003 is tried again", "3003: 1", "3003: 2"],
  ["5: forbidden is gaveup", '"forbidden"', '"gaveup"'],
  ["5: a drain is counted", "0|1001|", "0|"],
  ["5: 1012 is counted", "1012|", ""],
  ["5: 1013 is counted", "1013|", ""],
  ["5: 3008 is counted", "3008|", ""],
  ["5: 408 is counted", "408|", ""],
  ["5: 429 is counted", "429|", ""],
  ["5: 5xx is counted", "|5..", ""],
  ["5: no network is counted", "^(0|", "^("],
  ["5: it never gives up", "?? giveUpAfter)", "?? Infinity)"],
  ["5: a gateway that just started is given up", "? 5_000 : how.wait", "? 0 : how.wait"],
  ["5: that is waited for at the mint", "same && !minting", "same"],
  ["5: an ended session is asked about late", "same && !minting", "!minting"],
  ["5: unlike outcomes are counted together", "outcome == (outcome = status) ? same + 1 : 1", "same + 1"],
  ["5: the count outlives a good connection", "failures = slotEnd = same = 0;", "failures = slotEnd = 0;"],
  ["5: a greeting resets the count", "        failures = slotEnd = 0;\n        emit", "        failures = slotEnd = same = 0;\n        emit"],
  ["5: codes that runtimes make up are believed", "end(opened && { code", "end({ code"],
  ["5: Deno's code 0 is believed", "code: code || 1006", "code"],
  ["5: an error without a close is waited for", "opened || end({ status", "opened || 0 && end({ status"],
  ["5: a status anywhere in the error is believed", "/response: (\\d{3})$/", "/(\\d{3})$/"],
  ["6: a ticket is shown until it expires", "minted.expires_in * 500", "minted.expires_in * 1000"],
  ["6: a clock set back is not noticed", "age >= 0 && ", ""],
  ["6: a slow mint is asked in a loop", "if (!tries--) throw late;", ""],
  ["6: without expires_in it counts as one of a minute", "{ expires_in: 10, ", "{ expires_in: 60, "],
  ["6: a handshake may outlast its ticket", "after(Math.min(timeout, minted.expires_in * 1000 - age), expire);", "after(timeout, expire);"],
  ["6: a handshake has no deadline of its own", "Math.min(timeout, minted.expires_in * 1000 - age)", "minted.expires_in * 1000 - age"],
  ["7: what is overdue stays", "if (Date.now() > run.due)", "if (false)"],
  ["7: what is not due is put off", "if (Date.now() > run.due)", "if (true)"],
  ["7: tabs wake without jitter", "after(Math.random() * baseDelay, run)", "after(0, run)"],
  ["7: each look puts it off again", "    run.due = Date.now() + ms;", "    run.due ??= Date.now() + ms;"],
  ["7: online changes nothing", 'type == "online" && !hangUp', "false"],
  ["7: online during an attempt makes a second", 'type == "online" && !hangUp', 'type == "online"'],
  ["7: online without a new backoff", "      failures = slotEnd = 0;\n      retry();", "      retry();"],
  ["7: the page is not listened to", 'document?.[verb]("visibilitychange", wake);', ""],
  ["7: the network is not listened to", 'globalThis[verb]?.("online", wake);', ""],
  ["7: a wait of a month runs at once", "Math.min(ms, 2e9)", "ms"],
  ["8: the first is closed before the second is open", "      const on = (type, run)", "      if (until) hangUp();\n      const on = (type, run)"],
  ["8: the first is not closed", "if (until) leave();", ""],
  ["8: the new socket does not take over", "        hangUp = drop;\n", ""],
  ["8: a session that is not prolonged makes a second socket", "if (later < until + 1_000) return end();", ""],
  ["8: renewals all in one moment", "(1 - Math.random() / 2)", "1"],
  ["8: renewal at once", "left - Math.min(60_000, left / 2) * (1 - Math.random() / 2)", "0"],
  ["8: sessions that are over are renewed", "if (left > 2_000) after", "after"],
  ["8: a refused renewal is asked for again", "if (!LIMITS[how.status]) plan(until);", "plan(until);"],
  ["8: a failed renewal is not asked for again", "if (!LIMITS[how.status]) plan(until);", ""],
  ["8: a failed renewal ends the socket in use", "if (opened || !until) return down(how);", "return down(how);"],
  ["8: a failed renewal is silent", 'if (how.minting) emit("mintfailed", how);', ""],
  ["8: the end of a session by this clock", "since + (session_exp - iat) * 1000", "session_exp * 1000"],
  ["8: in band and by a second socket", "          until = later;\n          return end();\n", "          until = later;\n"],
  ["8: a ticket that went in band may go again", "          shown = minted.ticket;\n", ""],
  ["8: renewed in band, and again at once", "          until = later;\n", ""],
  ["8: a renewal goes on beside the next attempt", "    hangUpRenewal?.();\n", ""],
  ["9: by query in any case", 'offered[0] && carrier != "query"', "false"],
  ["9: by subprotocol in any case", 'offered[0] && carrier != "query"', "true"],
  ["9: carrier is not heeded", ' && carrier != "query"', ""],
  ["9: without the protocols of the application", '[...offered, "ticket." + shown]', '["ticket." + shown]'],
  ["9: by both", "if (!bySubprotocol) place.search", "place.search"],
  ["9: the query of the application is lost", 'place.search += (place.search && "&")', 'place.search = ""'],
  ["9: any text is taken for a ticket", "/^[\\w.~-]+$/", "/./"],
  ["9: undefined is taken for a ticket", 'ticket ?? ""', "ticket"],
  ["9: a ticket that was shown is shown again", "if (ticket == shown)", "if (false)"],
  ["9: the browser's words about the URL are passed on", "catch ({ name })", "catch ({ message: name })"],
  ["9: the parser's words about the answer are passed on", ".catch(() => 0);", ";"],
  ["9: a subprotocol with the ticket is shown", '.replace(/^ticket\\..*/, "")', ""],
  ["9: the URL of the socket is shown", "return address.href;", "return live?.url ?? address.href;"],
  ["9: the mint's url is not heeded", "minted.url ?? address", "address"],
  ["10: send() queues by itself", "queue.length < buffer", "true"],
  ["10: the queue has no end", "!state && queue.length < buffer", "!state && buffer"],
  ["10: send() drops in silence", 'else throw new DOMException("the socket is not open", "InvalidStateError");', ""],
  ["10: send() to a socket that is closing", "if (live?.readyState == OPEN) live.send(data);", "if (live) live.send(data);"],
  ["10: what was queued is sent twice", "queue.splice(0)", "queue"],
  ["shape: the attempt begins before anybody listens", "else queueMicrotask(start);", "else start();"],
  ["shape: a signal is not heeded", 'signal?.[verb]("abort", abort);', ""],
  ["shape: a signal that was aborted before is not heeded", "if (signal?.aborted) abort();\n  else", ""],
  ["shape: a handler twice", "{ once: true }", "{}"],
  ["shape: a close that is not answered is waited for", "if (used) return after(timeout, end);", "if (used) return;"],
  ["shape: a code that is not allowed closes half", "        state = 0; // a code", "        // a code"],
  ["shape: a missing url is a path", 'url || "#"', "url"],
  ["shape: a fragment", "[^#]+$/", "/"],
  ["shape: both mints", '!ticketUrl != !getTicket || "either', '!!ticketUrl || !!getTicket || "either'],
  ["shape: no delay at all", "maxDelay >= baseDelay && baseDelay > 0 ||", "maxDelay >= baseDelay ||"],
  ["shape: relative to nothing", "place.protocol.replace(\"http\", \"ws\")", "place.protocol"],
];

const units = ["shape", "mint", "backoff", "wake", "renew"];

test("every mutant is noticed", { skip: slow, timeout: 3_600_000 }, async (t) => {
  const lines = source.split("\n");
  const jobs = MUTANTS.map(([name, find, replacement]) => {
    assert.equal(source.split(find).length, 2, `${name}: the text must stand once in index.js: ${find}`);
    return [name, source.replace(find, () => replacement)];
  });
  const before = jobs.length;
  lines.forEach((line, i) => {
    if (/\S/.test(line) && !/^\s*(\/\/|\/\*)/.test(line)) jobs.push([`without line ${i + 1}: ${line.trim()}`, lines.filter((_, k) => k !== i).join("\n")]);
  });

  const survivors = [], invalid = [];
  let ran = 0;
  async function work() {
    const dir = scratch();
    mkdirSync(join(dir, "test"));
    cpSync(join(clientDir, "test", "unit"), join(dir, "test", "unit"), { recursive: true });
    writeFileSync(join(dir, "package.json"), '{"type":"module"}');
    const all = join(dir, "test", "unit", "all.js"), file = join(dir, "index.js");
    writeFileSync(all, units.map((name) => `import "./${name}.test.js";\n`).join(""));
    const passes = async (text) => {
      writeFileSync(file, text);
      const child = spawn(process.execPath, ["--test-reporter", fileURLToPath(new URL("./bail.mjs", import.meta.url)), all], { stdio: "ignore" });
      const late = setTimeout(() => child.kill("SIGKILL"), 120_000); // one that loops
      const status = await new Promise((done) => child.once("exit", done));
      clearTimeout(late);
      return status === 0;
    };
    assert.ok(await passes(source), "the client as it is does not pass");
    for (let job; (job = jobs.shift());) {
      const [name, text] = job;
      writeFileSync(file, text);
      if (spawnSync(process.execPath, ["--check", file]).status !== 0) {
        invalid.push(name);
        continue;
      }
      ran++;
      if (await passes(text)) survivors.push(name);
    }
  }
  await Promise.all(Array.from({ length: Math.min(4, availableParallelism()) }, work));
  t.diagnostic(`${ran} mutants, ${before} of them by hand; ${invalid.length} were no JavaScript`);
  assert.deepEqual(invalid.filter((name) => !name.startsWith("without line")), [], "not JavaScript");
  assert.deepEqual(survivors, []);
  assert.ok(ran > 200);
});
