/* @ts-self-types="./index.d.ts" */

// A WebSocket that opens with single-use tickets. Each attempt to connect mints a
// ticket of its own; docs/client.md draws the states, and has a table of what ends
// the attempts and what puts them off. A ticket is held in here and nowhere else.

const OPEN = 1, CLOSING = 2, CLOSED = 3;

// How often in a row an outcome may come before the client gives up. Close codes have
// four digits and HTTP statuses three, so one number tells both.
const LIMITS = { 400: 1, 403: 1, 3003: 1, 401: 2, 3000: 2 };
const PASSING = /^(0|1001|1012|1013|3008|408|429|5..)$/; // for ever; 0 is no answer at all

const GONE = { code: 1006, reason: "", wasClean: false, wait: 0 };

export function connect({
  url, ticketUrl, getTicket, protocols = [], carrier, renew, signal, buffer = 0,
  WebSocket = globalThis.WebSocket, timeout = 10_000, baseDelay = 2_000, maxDelay = 30_000,
  stableAfter = 10_000, giveUpAfter = 30,
}) {
  const { document, location } = globalThis;
  const offered = [protocols].flat();
  const bySubprotocol = offered[0] && carrier != "query";
  const locate = (text, base) => {
    const place = new URL(text, base);
    place.protocol = place.protocol.replace("http", "ws");
    return place;
  };
  let address;
  try { address = locate(url || "#", location?.href); } catch { /* told below */ }
  const lacks = [
    /^wss?:[^#]+$/.test(address) || "a ws or http url without fragment",
    !ticketUrl != !getTicket || "either ticketUrl or getTicket",
    !!WebSocket || "a WebSocket",
    maxDelay >= baseDelay && baseDelay > 0 || "maxDelay >= baseDelay > 0",
  ].filter((lack) => lack != true);
  if (lacks[0]) throw new TypeError("connect needs " + lacks.join(", and "));

  const queue = [];
  let state = 0; // or CLOSING or CLOSED; whether it is open, the socket in use knows
  let attempts = 0; // mints so far
  let shown; // the ticket that was sent last
  let live; // the socket in use
  let hangUp, hangUpRenewal; // end what dial began
  let failures = 0, slotEnd = 0, notBefore = 0; // see retry
  let outcome, same = 1; // how the last attempt ended, and how many did in a row; 0 after a good connection
  let binaryType = "blob";

  const emit = (type, details) => {
    socket.addEventListener(type, (event) => socket["on" + type]?.(event), { once: true });
    socket.dispatchEvent(Object.assign(new Event(type), details));
  };

  // Timers that know when they are due on the wall clock: those of a hidden tab come
  // late, and those of a laptop stand still while it sleeps.
  const waits = new Set();
  const stop = (run) => { clearTimeout(run.timer); waits.delete(run); };
  const after = (ms, run) => {
    stop(run);
    waits.add(run);
    run.due = Date.now() + ms;
    // What is to wait 2^31 ms or more, setTimeout runs at once.
    run.timer = setTimeout(() => { stop(run); run(); }, Math.min(ms, 2e9));
  };
  const wake = ({ type }) => {
    // The other tabs wake in the same moment.
    for (const run of waits) if (Date.now() > run.due) after(Math.random() * baseDelay, run);
    if (type == "online" && !hangUp) {
      failures = slotEnd = 0;
      retry();
    }
  };

  const mint = async (abort) => {
    const since = Date.now();
    attempts++;
    const refuse = (from, error) => {
      const advice = from?.headers?.get?.("retry-after") ?? from?.retryAfter;
      throw { status: from?.status || 0, error, wait: Math.min(advice * 1000 || Date.parse(advice) - since || 0, 3_600_000) };
    };
    let minted;
    try {
      minted = await (getTicket ? getTicket({ attempt: attempts, signal: abort })
        : fetch(ticketUrl, { method: "POST", credentials: "include", signal: abort }));
    } catch (error) {
      refuse(error?.response ?? error, error);
    }
    if (minted?.json) {
      if (!minted.ok) refuse(minted);
      minted = await minted.json().catch(() => 0); // its error would quote what was read
    }
    const { ticket, status = 200 } = minted || 0;
    if (!/^[\w.~-]+$/.test(ticket ?? "")) refuse({ status }, new TypeError("the mint gave no ticket"));
    if (ticket == shown) refuse({ status }, new TypeError("the mint gave a used ticket"));
    return { expires_in: 10, ...minted, since };
  };

  // dial mints and connects, once; with until, to take over from the socket in use, whose
  // session ends then. The function that it returns ends what dial began, and nothing
  // more is heard of it.
  const dial = (until) => {
    const control = new AbortController();
    const late = { minting: true, status: 0, error: new TypeError("the mint took too long") };
    let ws, over, opened;
    const drop = () => { over = true; stop(expire); control.abort(); ws?.close(); };
    const end = (how) => {
      if (over) return;
      drop();
      how = { attempt: attempts, opened, ...GONE, ...how };
      if (opened || !until) return down(how);
      if (how.minting) emit("mintfailed", how);
      if (!LIMITS[how.status]) plan(until); // the server ends what it will not renew
    };
    const expire = () => end(!ws && late);
    after(timeout, expire);
    (async () => {
      let minted, age, tries = 2;
      do {
        if (!tries--) throw late;
        minted = await mint(control.signal);
        if (over) return;
        age = Date.now() - minted.since; // below 0 where the clock was set back
      } while (!(age >= 0 && age <= minted.expires_in * 500));
      if (until) {
        const later = sessionEnd(minted);
        if (later < until + 1_000) return end();
        if (renew) {
          shown = minted.ticket;
          await renew(minted, socket);
          until = later;
          return end();
        }
      }
      after(Math.min(timeout, minted.expires_in * 1000 - age), expire);
      const place = locate(minted.url ?? address, address);
      shown = minted.ticket;
      if (!bySubprotocol) place.search += (place.search && "&") + "ticket=" + shown;
      try {
        ws = new WebSocket(place.href, bySubprotocol ? [...offered, "ticket." + shown] : offered);
      } catch ({ name }) {
        return end({ status: 400, error: new TypeError(name) }); // its message would quote the URL
      }
      const on = (type, run) => ws.addEventListener(type, run);
      on("open", () => {
        if (over) return;
        opened = true;
        const leave = hangUp;
        hangUp = drop;
        hangUpRenewal = null;
        settle();
        live = ws;
        ws.binaryType = binaryType;
        after(stableAfter, () => { failures = slotEnd = same = 0; });
        plan(sessionEnd(minted));
        for (const data of queue.splice(0)) ws.send(data);
        emit("open", { attempt: attempts, renewed: !!until });
        if (until) leave();
      });
      on("message", ({ data, origin }) => {
        if (over) return;
        failures = slotEnd = 0;
        emit("message", { data, origin });
      });
      // Some runtimes let no close follow the error of a handshake, and Deno calls a reset
      // code 0. The ws of npm tells the status of a handshake in words.
      on("error", ({ message }) => opened || end({ status: +/response: (\d{3})$/.exec(message)?.[1] || undefined }));
      on("close", ({ code, reason, wasClean }) => end(opened && { code: code || 1006, reason, wasClean }));
    })().catch((how) => end({ minting: true, error: how, ...how }));
    return drop;
  };

  const start = () => {
    if (!state) hangUp = dial();
  };

  // retry waits until a moment of the next slot. The slots of all who lost their server
  // at once lie side by side, each a quarter longer than the one before, and everybody
  // comes once in each: so no second is much fuller than the others.
  const retry = () => {
    settle();
    const now = Date.now();
    const width = Math.min(maxDelay, baseDelay * 1.25 ** failures++);
    const slot = Math.max(now, notBefore, Math.min(slotEnd, now + maxDelay));
    slotEnd = slot + width;
    const delay = slot + Math.random() * width - now;
    after(delay, start);
    return delay;
  };

  const down = (how) => {
    hangUp = live = null;
    if (state) return finish(how);
    const { minting, status = how.code } = how;
    // A gateway that has just started refuses every ticket for five seconds.
    notBefore = Date.now() + (same && !minting && LIMITS[status] > 1 ? 5_000 : how.wait);
    how.failures = same = outcome == (outcome = status) ? same + 1 : 1;
    const ends = !PASSING.test(status) && same >= (LIMITS[status] ?? giveUpAfter);
    if (!ends) how.retryIn = retry();
    if (minting) emit("mintfailed", how);
    else if (!how.opened) emit("error");
    if (ends) finish(how, minting && status == 401 ? "unauthorized" : /403|3003/.test(status) ? "forbidden" : "gaveup");
    else if (!minting) emit("close", how);
  };

  // settle ends what accompanies a socket in use, and the wait for one.
  const settle = () => {
    hangUpRenewal?.();
    waits.forEach(stop);
  };

  const finish = (how, type) => {
    if (state == CLOSED) return;
    state = CLOSED;
    settle();
    listen("removeEventListener");
    if (type) emit(type, how);
    emit("close", how);
  };

  // sessionEnd is when the session of a ticket ends; NaN or nothing when it does not. Both
  // times in the ticket are of one clock, which need not agree with this one.
  const sessionEnd = ({ ticket, since }) => {
    try {
      // For _ it should be /, but only numbers are read, and those are spelled without.
      const { session_exp, iat } = JSON.parse(atob(ticket.split(".")[1].replace(/[-_]/g, "+")));
      return since + (session_exp - iat) * 1000;
    } catch { /* not one of ours */ }
  };

  // plan renews in the last minute of the session, or in its second half. Where that
  // did not move its end it is tried again halfway to it.
  const plan = (until) => {
    const left = until - Date.now();
    if (left > 2_000) after(left - Math.min(60_000, left / 2) * (1 - Math.random() / 2), () => { hangUpRenewal = dial(until); });
  };

  const abort = () => socket.close();
  const listen = (verb) => {
    document?.[verb]("visibilitychange", wake);
    globalThis[verb]?.("online", wake);
    signal?.[verb]("abort", abort);
  };

  const socket = new class extends EventTarget {
    get readyState() { return state || +(live?.readyState == OPEN); }
    get url() { return address.href; }
    get protocol() { return live?.protocol.replace(/^ticket\..*/, "") ?? ""; }
    get bufferedAmount() { return live?.bufferedAmount ?? 0; }
    get binaryType() { return binaryType; }
    set binaryType(type) {
      binaryType = type;
      if (live) live.binaryType = type;
    }
    send(data) {
      if (live?.readyState == OPEN) live.send(data);
      else if (!state && queue.length < buffer) queue.push(data);
      else throw new DOMException("the socket is not open", "InvalidStateError");
    }
    close(code, reason) {
      if (state) return;
      const used = live;
      state = CLOSING;
      try {
        used?.close(code, reason);
      } catch (error) {
        state = 0; // a code or reason that is not allowed
        throw error;
      }
      settle();
      const end = () => { hangUp?.(); finish(GONE); };
      if (used) return after(timeout, end);
      hangUp?.();
      queueMicrotask(end);
    }
  }();

  listen("addEventListener");
  // In a microtask: who closes at once, as an effect of React's StrictMode, mints nothing.
  if (signal?.aborted) abort();
  else queueMicrotask(start);
  return socket;
}
