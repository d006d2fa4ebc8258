// Breaks the client on purpose, in a copy, and wants the tests of ../unit to fail: each
// line taken out, and each of the changes below.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Script } from "node:vm";
import { clientDir, scratch, slow } from "./programs.js";

const source = readFileSync(join(clientDir, "index.js"), "utf8");

// By the points of what the client promises, which docs/client.md explains.
const MUTANTS = [
  ["1: one ticket for all attempts", "minted = await (getTicket ?", "minted = globalThis.kept ??= await (getTicket ?"],
  ["1: attempts are not counted", "    attempts++;\n", "    attempts = 1;\n"],
  ["1: getTicket gets no signal", "signal: control.signal })\n            :", "})\n            :"],
  ["1: fetch gets no signal", 'credentials: "include", signal: control.signal', 'credentials: "include"'],
  ["1: no cookies", 'credentials: "include", ', ""],
  ["1: GET", '{ method: "POST", ', "{ "],
  ["2: a late ticket is used", "        if (over) return;\n        ticket =", "        ticket ="],
  ["2: the attempt's signal is not aborted", "control.abort(); ", ""],
  ["2: a socket that was left is not closed", "control.abort(); ws?.close();", "control.abort();"],
  ["2: the mint has no deadline", "    after(expire, timeout);\n", ""],
  ["3: 401 is the end at once", "401: 2", "401: 1"],
  ["3: 401 is tried twice more", "401: 2", "401: 3"],
  ["3: 403 is tried again", "403: 1", "403: 2"],
  ["3: 400 is tried again", "400: 1", "400: 2"],
  ["3: a failed mint is silent", 'if (minting) emit("mintfailed", how);\n    else if', "if (minting) ;\n    else if"],
  ["3: unauthorized is gaveup", '"unauthorized"', '"gaveup"'],
  ["3: Retry-After is not heeded", "now, Math.min(notBefore, now + 3_600_000), ", "now, "],
  ["3: Retry-After is not heeded by a renewal", "until - Math.max(Date.now(), notBefore)", "until - Date.now()"],
  ["3: Retry-After outlives a mint that gave a ticket", "        notBefore = 0;\n", ""],
  ["3: a clock set back makes a pause of a day", "Math.min(notBefore, now + 3_600_000)", "notBefore"],
  ["3: any failure sets a time before which it does not come", "if (ms > 0) notBefore", "notBefore"],
  ["3: a late failure ends the pause", "Math.max(notBefore, Date.now() + Math.min(ms, 3_600_000))", "Date.now() + Math.min(ms, 3_600_000)"],
  ["3: Retry-After in place of jitter", "Math.random() * width - now)", "(notBefore > now ? 0 : Math.random() * width) - now)"],
  ["3: Retry-After as a date is not read", "advice * 1000 || Date.parse(advice) - Date.now()", "advice * 1000"],
  ["3: Retry-After without bound", "Math.min(ms, 3_600_000)", "ms"],
  ["3: retryAfter of an error is not read", " ?? from?.retryAfter", ""],
  ["3: response of an error is not read", "refuse(error?.response ?? error, error)", "refuse(error, error)"],
  ["3: the status of an answer without a ticket is not read", "fault(+minted?.status || 200, ", "fault(200, "],
  ["3: a status that is no number is believed", "fault(+minted?.status || 200, ", "fault(minted?.status || 200, "],
  ["3: a status that is no number is believed of an error", "status: +from?.status || 0", "status: from?.status || 0"],
  ["3: whatever has a json is a Response", "minted?.json?.call", "minted?.json"],
  ["3: an answer that is not ok is read", "if (!minted.ok) refuse(minted);", ""],
  ["4: no jitter", "slot + Math.random() * width - now", "slot + width - now"],
  ["4: half jitter", "slot + Math.random() * width - now", "slot + (1 + Math.random()) / 2 * width - now"],
  ["4: no growth", "1.25 ** failures++", "1 ** failures++"],
  ["4: double growth", "1.25 ** failures++", "2 ** failures++"],
  ["4: no cap", "Math.min(maxDelay, baseDelay * ", "(baseDelay * "],
  ["4: slots begin at each failure", ", Math.min(slotEnd, now + maxDelay));", ");"],
  ["4: a clock set back stretches the wait", "Math.min(slotEnd, now + maxDelay)", "slotEnd"],
  ["4: open resets", "ws.readyState == OPEN;\n", "ws.readyState == OPEN; failures = slotEnd = 0;\n"],
  ["4: open never resets", "after(() => { failures = slotEnd = same = 0; }, stableAfter);", ""],
  ["4: a message does not reset", "        failures = slotEnd = 0;\n        emit(\"message\"", "        emit(\"message\""],
  ["5: 3000 is the end at once", "3000: 2", "3000: 1"],
  ["5: 3000 is tried twice more", "3000: 2", "3000: 3"],
  ["5: 3003 is tried again", "3003: 1", "3003: 2"],
  ["5: codes that read like 403 are forbidden", "status == 403 || status == 3003", "/403|3003/.test(status)"],
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
  ["5: a gateway that just started is given up", "hold(10_000)", "hold(0)"],
  ["5: a gateway whose Redis has forgotten is given up", "hold(10_000)", "hold(5_000)"],
  ["5: that is waited for at the mint", "same && !minting", "same"],
  ["5: an ended session is asked about late", "same && !minting", "!minting"],
  ["5: unlike outcomes are counted together", "outcome == (outcome = same ? status : \"\") ? same + 1 : 1", "same + 1"],
  ["5: the end of a good connection counts as a refusal", "same ? status : \"\"", "status"],
  ["5: the count outlives a good connection", "failures = slotEnd = same = 0;", "failures = slotEnd = 0;"],
  ["5: a greeting resets the count", "        failures = slotEnd = 0;\n        emit", "        failures = slotEnd = same = 0;\n        emit"],
  ["5: codes that runtimes make up are believed", "end(opened && { code", "end({ code"],
  ["5: Deno's code 0 is believed", "code: code || 1006", "code"],
  ["5: an error without a close is waited for", "opened || end({ status", "opened || 0 && end({ status"],
  ["5: a status anywhere in the error is believed", "/response: (...)$/", "/(...)$/"],
  ["6: a ticket is shown until it expires", "age > life / 2", "age > life"],
  ["6: a clock set back is not noticed", "age < 0 || ", ""],
  ["6: a slow mint is asked in a loop", "if (!tries--) return expire();", ""],
  ["6: without expires_in it counts as one of a minute", ": 10_000;", ": 60_000;"],
  ["6: an expires_in of no sense is believed", "minted.expires_in > 0 ?", "minted.expires_in !== undefined ?"],
  ["6: a handshake may outlast its ticket", "after(expire, Math.min(timeout, life - age));", "after(expire, timeout);"],
  ["6: a handshake has no deadline of its own", "Math.min(timeout, life - age)", "life - age"],
  ["7: what is overdue stays", "if (Date.now() > run.due)", "if (false)"],
  ["7: what is not due is put off", "if (Date.now() > run.due)", "if (true)"],
  ["7: tabs wake without jitter", "after(run, Math.random() * baseDelay)", "after(run, 0)"],
  ["7: each look puts it off again", "    run.due = Date.now() + ms;", "    run.due ??= Date.now() + ms;"],
  ["7: online changes nothing", 'type == "online" && !hangUp', "false"],
  ["7: online during an attempt makes a second", 'type == "online" && !hangUp', 'type == "online"'],
  ["7: online before the first attempt makes a second", "hangUp ??= dial()", "hangUp = dial()"],
  ["7: online without a new backoff", "      failures = slotEnd = 0;\n      retry();", "      retry();"],
  ["7: the page is not listened to", 'document?.[verb]("visibilitychange", wake);', ""],
  ["7: the network is not listened to", 'globalThis[verb]?.("online", wake);', ""],
  ["7: a wait of a month runs at once", "Math.min(ms, 2e9)", "ms"],
  ["8: the first is closed before the second is open", '      ws.addEventListener("open", () => {', '      if (until) hangUp?.();\n      ws.addEventListener("open", () => {'],
  ["8: the first is not closed", "if (until) hangUp?.();", ""],
  ["8: the new socket does not take over", "          hangUp = drop;\n", ""],
  ["8: it takes over with open, which may be a refusal", "until ? after(expire, 1_000) : ready();", "ready();"],
  ["8: the first attempt waits too", "until ? after(expire, 1_000) : ready();", "after(expire, 1_000);"],
  ["8: without a message it never takes over", "until ? after(expire, 1_000) : ready();", "until || ready();"],
  ["8: a message does not make it take over", "        opened || ready();\n", ""],
  ["8: it takes over with each message", "opened || ready();", "ready();"],
  ["8: a message after close() in the open of a takeover", "        opened || ready();\n        if (over || state) return; //", "        if (over || state) return;\n        opened || ready(); //"],
  ["8: when the time is over it is given up", "ready?.(); opened || end(", "end("],
  ["8: one that is being closed is waited for", "ready?.(); opened || end(", "ready ? ready() : end("],
  ["8: the first message has another binaryType", "      ws.binaryType = binaryType; // of", "      // of"],
  ["8: an open socket is dropped where the first is lost", "    next?.();\n", ""],
  ["8: it takes over from the one that was lost, and the loss is told", "    if (live) return;\n", ""],
  ["8: what is being closed takes over", "!over && ws.readyState == OPEN;", "!over;"],
  ["8: what was left takes over", "!over && ws.readyState == OPEN;", "ws.readyState == OPEN;"],
  ["8: a session that is not prolonged makes a second socket", "if (later < until + 1_000) return end();", ""],
  ["8: renewals all in one moment", "(1 - Math.random() / 2)", "1"],
  ["8: renewal at once", "until - Math.min(60_000, left / 2) * (1 - Math.random() / 2) - Date.now()", "0"],
  ["8: sessions that are over are renewed", "if (left > 2_000) after", "after"],
  ["8: a refused renewal is asked for again", "if (!LIMITS[how.status]) plan(until);", "plan(until);"],
  ["8: a failed renewal is not asked for again", "if (!LIMITS[how.status]) plan(until);", ""],
  ["8: a failed renewal ends the socket in use", "if (opened || !until) down(how);", "if (true) down(how);"],
  ["8: a failed renewal is silent", 'if (how.minting) emit("mintfailed", how);', ""],
  ["8: the end of a session by this clock", "since + (session_exp - iat) * 1000", "session_exp * 1000"],
  ["8: in band and by a second socket", "        return end();\n      }\n      after(", "      }\n      after("],
  ["8: a ticket that went in band may go again", "      shown = [ticket, ...shown.slice(0, 99)];\n      if (until && renew) {", "      if (!until || !renew) shown = [ticket, ...shown.slice(0, 99)];\n      if (until && renew) {"],
  ["8: renewed in band, and again at once", "        until = later || 1; // long", "        // long"],
  ["8: renewed in band for good, and taken for lost", "until = later || 1;", "until = later;"],
  ["8: a renewal goes on beside the next attempt", " run.drop?.();", ""],
  ["8: what renew throws colours the event", "end(how?.minting ? how : { minting: true, error: how })", "end({ minting: true, error: how, ...how })"],
  ["9: by query in any case", 'offered[0] && carrier != "query"', "false"],
  ["9: by subprotocol in any case", 'offered[0] && carrier != "query"', "true"],
  ["9: carrier is not heeded", ' && carrier != "query"', ""],
  ["9: without the protocols of the application", '[...offered, "ticket." + ticket]', '["ticket." + ticket]'],
  ["9: by both", "if (!bySubprotocol) place.search", "place.search"],
  ["9: the query of the application is lost", 'place.search += (place.search && "&")', 'place.search = ""'],
  ["9: any text is taken for a ticket", "/^[\\w.~-]+$/", "/./"],
  ["9: an answer without a ticket is a fault of this code", "!ticket?.match", "!ticket.match"],
  ["9: what is no string is taken for a ticket", "!ticket?.match?.(/^[\\w.~-]+$/)", "!/^[\\w.~-]+$/.test(ticket)"],
  ["9: a ticket that was shown is shown again", " || shown.includes(ticket)", ""],
  ["9: only the last ticket is remembered", "...shown.slice(0, 99)", ""],
  ["9: tickets are remembered for ever", "shown.slice(0, 99)", "shown"],
  ["9: an empty protocol is offered", ".flat().filter(Boolean);\n  const by", ".flat();\n  const by"],
  ["9: the browser's words about the URL are passed on", "catch ({ name })", "catch ({ message: name })"],
  ["9: the parser's words about the answer are passed on", ".catch(() => 0);", ";"],
  ["9: a subprotocol with the ticket is shown", '.replace(/^ticket\\..*/, "")', ""],
  ["9: the URL of the socket is shown", "url = address.href;", "get url() { return live?.url ?? address.href; }"],
  ["9: the mint's url is not heeded", "minted.url ?? address", "address"],
  ["10: send() queues by itself", "state || queue.length >= buffer", "state"],
  ["10: the queue has no end", "queue.length >= buffer", "!buffer"],
  ["10: send() drops in silence", 'throw new DOMException("not open", "InvalidStateError");', "return;"],
  ["10: send() to a socket that is closing", "if (live?.readyState == OPEN) return live.send(data);", "if (live) return live.send(data);"],
  ["10: send() queues after close()", "state || queue.length >= buffer", "queue.length >= buffer"],
  ["10: a queued message that is refused keeps open back", "map(async (data)", "map((data)"],
  ["10: what was queued is sent twice", "queue.splice(0)", "queue"],
  ["shape: the attempt begins before anybody listens", "else queueMicrotask(start);", "else start();"],
  ["shape: a signal is not heeded", 'signal?.[verb]("abort", abort);', ""],
  ["shape: a signal that was aborted before is not heeded", "if (signal?.aborted) abort();\n  else", ""],
  ["shape: a handler twice", "    socket.removeEventListener(type, handle);", ""],
  ["shape: a handler stays where a listener stops the event", "    socket.addEventListener(type, handle);\n    socket.dispatchEvent(Object.assign(event, { attempt: attempts }, details));\n    socket.removeEventListener(type, handle);", "    socket.addEventListener(type, handle, { once: true });\n    socket.dispatchEvent(Object.assign(event, { attempt: attempts }, details));"],
  ["shape: the last event does not tell the attempts", "event, { attempt: attempts }, details", "event, details"],
  ["shape: a message is a plain event", 'emit("message", null, new MessageEvent("message", event));', 'emit("message", { data: event.data, origin: event.origin });'],
  ["shape: a message after close()", "if (over || state) return;", "if (over) return;"],
  ["shape: relative to the address and not to the base of the page", "document?.baseURI ?? ", ""],
  ["shape: a close that is not answered is waited for", "(live ? after : queueMicrotask)(", "live || queueMicrotask("],
  ["shape: a close is not waited for", "(live ? after : queueMicrotask)(", "queueMicrotask("],
  ["shape: a code that is not allowed closes half", "      live?.close(code, reason); // throws where they are not allowed\n      state = CLOSING;\n", "      state = CLOSING;\n      live?.close(code, reason);\n"],
  ["shape: a missing url is a path", 'url || "#"', "url"],
  ["shape: a fragment", "[^#]+$/", "/"],
  ["shape: both mints", '!ticketUrl == !getTicket && "either', '!ticketUrl && !getTicket && "either'],
  ["shape: no delay at all", "!(baseDelay > 0 && maxDelay > 0)", "!(baseDelay > 0)"],
  ["shape: relative to nothing", "place.protocol.replace(\"http\", \"ws\")", "place.protocol"],
];

// The tests that are most likely to notice a mutant come first: all of them take long,
// and the first that fails is enough. By the point in its name, and else by experience.
const units = ["shape", "renew", "mint", "backoff", "wake"];
const first = { 1: "mint", 2: "mint", 3: "mint", 4: "backoff", 5: "backoff", 6: "mint", 7: "wake", 8: "renew" };

/** Whether a text is JavaScript; import and export, which a script may not have, are on lines of their own. */
function parses(text) {
  try {
    new Script(text.replace(/^export /gm, ""));
    return true;
  } catch {
    return false;
  }
}

// The test that runs this one says so in the environment, and its child would heed no reporter.
const { NODE_TEST_CONTEXT: _, ...env } = process.env;

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

  const survivors = [], invalid = [], endless = [];
  let ran = 0;
  async function work() {
    const dir = scratch();
    mkdirSync(join(dir, "test"));
    cpSync(join(clientDir, "test", "unit"), join(dir, "test", "unit"), { recursive: true });
    writeFileSync(join(dir, "package.json"), '{"type":"module"}');
    const all = join(dir, "test", "unit", "all.js"), file = join(dir, "index.js");
    const passes = async (text, name = "") => {
      writeFileSync(file, text);
      const order = new Set([first[name[0]], ...units].filter(Boolean));
      writeFileSync(all, [...order].map((name) => `import "./${name}.test.js";\n`).join(""));
      const child = spawn(process.execPath, ["--test-reporter", fileURLToPath(new URL("./bail.mjs", import.meta.url)), all], { stdio: "ignore", env });
      const late = setTimeout(() => { endless.push(name); child.kill("SIGKILL"); }, 60_000);
      const status = await new Promise((done) => child.once("exit", done));
      clearTimeout(late);
      return status === 0;
    };
    assert.ok(await passes(source), "the client as it is does not pass");
    for (let job; (job = jobs.shift());) {
      const [name, text] = job;
      if (!parses(text)) {
        invalid.push(name);
        continue;
      }
      ran++;
      if (await passes(text, name)) {
        survivors.push(name);
        console.error("lives: " + name);
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(8, availableParallelism()) }, work));
  t.diagnostic(`${ran} mutants, ${before} of them by hand; ${invalid.length} were no JavaScript; no end had: ${endless.join(", ") || "none"}`);
  assert.deepEqual(invalid.filter((name) => !name.startsWith("without line")), [], "not JavaScript");
  assert.deepEqual(survivors, []);
  assert.ok(ran > 200);
});
