/* @ts-self-types="./index.d.ts" */

// A WebSocket that opens with single-use tickets. Each attempt to connect mints a
// ticket of its own; docs/client.md draws the states, and has a table of what ends
// the attempts and what puts them off. A ticket is held in here and nowhere else.

const OPEN = 1, CLOSING = 2, CLOSED = 3;

// How often in a row an outcome may come before the client gives up. Close codes have
// four digits and HTTP statuses three, so one number tells both.
const LIMITS = { 400: 1, 403: 1, 3003: 1, 401: 2, 3000: 2 };
const PASSING = /^(0|1001|1012|1013|3008|408|429|5..)$/; // for ever; 0 is no answer at all

const GONE = { code: 1006, reason: "", wasClean: false };

export function connect({
  url, ticketUrl, getTicket, protocols = [], carrier, renew, signal, buffer = 0,
  WebSocket = globalThis.WebSocket, timeout = 10_000, baseDelay = 2_000, maxDelay = 30_000,
  stableAfter = 10_000, giveUpAfter = 30,
}) {
  const { document, location } = globalThis;
  const offered = [protocols].flat().filter(Boolean);
  const bySubprotocol = offered[0] && carrier != "query";
  const locate = (text, base) => {
    const place = new URL(text, base);
    place.protocol = place.protocol.replace("http", "ws");
    return place;
  };
  let address;
  try { address = locate(url || "#", document?.baseURI ?? location?.href); } catch { /* told below */ }
  const lacks = [
    !/^wss?:[^#]+$/.test(address) && "a ws or http url without fragment",
    !ticketUrl == !getTicket && "either ticketUrl or getTicket",
    !WebSocket && "a WebSocket",
    !(baseDelay > 0 && maxDelay > 0) && "delays above 0",
  ].filter(Boolean);
  if (lacks[0]) throw new TypeError("connect needs " + lacks.join(", "));

  const queue = [];
  let state = 0; // or CLOSING or CLOSED; whether it is open, the socket in use knows
  let attempts = 0; // mints so far
  let shown = []; // the tickets that were sent last
  let live; // the socket in use
  let hangUp; // ends the socket in use, or the attempt that is under way
  let next; // takes over from the socket in use, if a renewal has one that is open
  let failures = 0, slotEnd = 0, notBefore = 0; // see retry
  let outcome, same = 1; // how the last attempt ended, and how many did in a row; 0 after a good connection
  let binaryType = "blob";

  const emit = (type, details, event = new Event(type)) => {
    const handle = () => socket["on" + type]?.(event);
    socket.addEventListener(type, handle);
    socket.dispatchEvent(Object.assign(event, { attempt: attempts }, details));
    socket.removeEventListener(type, handle); // once does not, where a listener stops the event
  };

  // Timers that know when they are due on the wall clock: those of a hidden tab come
  // late, and those of a laptop stand still while it sleeps.
  const waits = new Set();
  const stop = (run) => { clearTimeout(run.timer); waits.delete(run); };
  const after = (run, ms) => {
    stop(run);
    waits.add(run);
    run.due = Date.now() + ms;
    // What is to wait 2^31 ms or more, setTimeout runs at once.
    run.timer = setTimeout(() => { stop(run); run(); }, Math.min(ms, 2e9));
    return ms;
  };
  const wake = (event) => {
    // The other tabs wake in the same moment.
    for (const run of waits) if (Date.now() > run.due) after(run, Math.random() * baseDelay);
    if (event.type == "online" && !hangUp) {
      failures = slotEnd = 0;
      retry();
    }
  };

  // For an hour at most: retry says so too, for a clock that was set back.
  const hold = (ms) => { if (ms > 0) notBefore = Math.max(notBefore, Date.now() + Math.min(ms, 3_600_000)); };

  // What fails a mint; hold and refuse heed how long the mint wants to be left alone.
  const fault = (status, what) => ({ minting: true, status, error: new TypeError("the mint " + what) });
  const refuse = (from, error) => {
    const advice = from?.headers?.get?.("retry-after") ?? from?.retryAfter;
    hold(advice * 1000 || Date.parse(advice) - Date.now());
    throw { minting: true, status: +from?.status || 0, error };
  };

  // dial mints and connects, once; with until, to take over from the socket in use, whose
  // session ends then. The function that it returns ends what dial began, and nothing
  // more is heard of it.
  const dial = (until) => {
    const control = new AbortController();
    let ws, over, opened, ready;
    const end = (how) => {
      if (over) return;
      drop();
      how = { opened, ...GONE, ...how };
      if (opened || !until) down(how);
      else {
        if (how.minting) emit("mintfailed", how);
        if (!LIMITS[how.status]) plan(until); // the server ends what it will not renew
      }
    };
    const expire = () => { ready?.(); opened || end(!ws && fault(0, "took too long")); };
    const drop = expire.drop = () => { over = true; stop(expire); control.abort(); ws?.close(); };
    after(expire, timeout);
    (async () => {
      let minted, ticket, since, age, life, tries = 2;
      do {
        if (!tries--) return expire();
        since = Date.now();
        attempts++;
        try {
          minted = await (getTicket ? getTicket({ attempt: attempts, signal: control.signal })
            : fetch(ticketUrl, { method: "POST", credentials: "include", signal: control.signal }));
        } catch (error) {
          refuse(error?.response ?? error, error);
        }
        if (minted?.json?.call) {
          if (!minted.ok) refuse(minted);
          minted = await minted.json().catch(() => 0); // its error would quote what was read
        }
        if (over) return;
        ticket = minted?.ticket;
        if (!ticket?.match?.(/^[\w.~-]+$/) || shown.includes(ticket)) throw fault(+minted?.status || 200, "gave no new ticket");
        notBefore = 0;
        life = minted.expires_in > 0 ? minted.expires_in * 1000 : 10_000;
        age = Date.now() - since; // below 0 where the clock was set back
      } while (age < 0 || age > life / 2);
      let later; // when the session of the ticket ends; nothing or NaN where it does not
      try {
        // For _ it should be /, but only numbers are read, and those are spelled without.
        const { session_exp, iat } = JSON.parse(atob(ticket.split(".")[1].replace(/[-_]/g, "+")));
        later = since + (session_exp - iat) * 1000; // both are of one clock, which need not agree with this one
      } catch { /* not one of ours */ }
      if (later < until + 1_000) return end();
      shown = [ticket, ...shown.slice(0, 99)];
      if (until && renew) {
        await renew(minted, socket);
        until = later || 1; // long past, and so not planned, where the session has no end any more
        return end();
      }
      after(expire, Math.min(timeout, life - age));
      try {
        const place = locate(minted.url ?? address, address);
        if (!bySubprotocol) place.search += (place.search && "&") + "ticket=" + ticket;
        ws = new WebSocket(place.href, bySubprotocol ? [...offered, "ticket." + ticket] : offered);
      } catch ({ name }) {
        return end({ status: 400, error: new TypeError(name) }); // its message would quote the URL
      }
      ws.binaryType = binaryType; // of what comes first too
      ws.addEventListener("open", () => {
        next = ready = () => {
          opened = !over && ws.readyState == OPEN;
          if (!opened) return; // it was left, or its close frame has come and its close has not
          if (until) hangUp?.();
          hangUp = drop;
          stop(expire);
          live = ws;
          ws.binaryType = binaryType;
          after(() => { failures = slotEnd = same = 0; }, stableAfter);
          plan(later);
          queue.splice(0).map(async (data) => ws.send(data)); // what one throws is heard, and stops nothing
          emit("open", { renewed: !!until });
        };
        // A refusal may come as a close behind open: so what is in use stays until there is
        // a message, or for a second.
        until ? after(expire, 1_000) : ready();
      });
      ws.addEventListener("message", (event) => {
        opened || ready();
        if (over || state) return; // perhaps by a handler of that open
        failures = slotEnd = 0;
        emit("message", null, new MessageEvent("message", event));
      });
      // Some runtimes let no close follow the error of a handshake, and Deno calls a reset
      // code 0. The ws of npm tells the status of a handshake in words.
      ws.addEventListener("error", ({ message }) => opened || end({ status: +/response: (...)$/.exec(message)?.[1] || undefined }));
      ws.addEventListener("close", ({ code, reason, wasClean }) => end(opened && { code: code || 1006, reason, wasClean }));
    })().catch((how) => end(how?.minting ? how : { minting: true, error: how }));
    return drop;
  };

  const start = () => {
    if (!state) hangUp ??= dial();
  };

  // retry waits until a moment of the next slot. The slots of all who lost their server
  // at once lie side by side, each a quarter longer than the one before, and everybody
  // comes once in each: so no second is much fuller than the others.
  const retry = () => {
    settle();
    const now = Date.now();
    const width = Math.min(maxDelay, baseDelay * 1.25 ** failures++);
    const slot = Math.max(now, Math.min(notBefore, now + 3_600_000), Math.min(slotEnd, now + maxDelay));
    slotEnd = slot + width;
    return after(start, slot + Math.random() * width - now);
  };

  const down = (how) => {
    if (state) return finish(how);
    hangUp = live = null;
    next?.();
    if (live) return;
    const { minting, status = how.code } = how;
    // A gateway that has just started refuses every ticket for five seconds, one whose
    // Redis has forgotten for nine.
    if (same && !minting && LIMITS[status] > 1) hold(10_000);
    // How a good connection ended is not counted with the attempts after it.
    how.failures = same = outcome == (outcome = same ? status : "") ? same + 1 : 1;
    const ends = !PASSING.test(status) && same >= (LIMITS[status] ?? giveUpAfter);
    if (!ends) how.retryIn = retry();
    if (minting) emit("mintfailed", how);
    else if (!how.opened) emit("error");
    if (ends) finish(how, minting && status == 401 ? "unauthorized" : status == 403 || status == 3003 ? "forbidden" : "gaveup");
    else if (!minting) emit("close", how);
  };

  // settle ends every wait, and with its deadline the attempt that is under way.
  const settle = () => waits.forEach((run) => { stop(run); run.drop?.(); });

  const finish = (how, type) => {
    if (state == CLOSED) return;
    state = CLOSED;
    settle();
    listen("removeEventListener");
    if (type) emit(type, how);
    emit("close", how);
  };

  // plan renews in the last minute of the session, or in its second half. Where that
  // did not move its end it is tried again halfway to it.
  const plan = (until) => {
    const left = until - Math.max(Date.now(), notBefore);
    if (left > 2_000) after(() => dial(until), until - Math.min(60_000, left / 2) * (1 - Math.random() / 2) - Date.now());
  };

  const abort = () => socket.close();
  const listen = (verb) => {
    document?.[verb]("visibilitychange", wake);
    globalThis[verb]?.("online", wake);
    signal?.[verb]("abort", abort);
  };

  const socket = new class extends EventTarget {
    get readyState() { return state || +(live?.readyState == OPEN); }
    url = address.href;
    get protocol() { return live?.protocol.replace(/^ticket\..*/, "") ?? ""; }
    get bufferedAmount() { return live?.bufferedAmount ?? 0; }
    get binaryType() { return binaryType; }
    set binaryType(type) {
      binaryType = type;
      if (live) live.binaryType = type;
    }
    send(data) {
      if (live?.readyState == OPEN) return live.send(data);
      if (state || queue.length >= buffer) throw new DOMException("not open", "InvalidStateError");
      queue.push(data);
    }
    close(code, reason) {
      if (state) return;
      live?.close(code, reason); // throws where they are not allowed
      state = CLOSING;
      settle();
      // A server that does not answer is waited for no longer than that.
      (live ? after : queueMicrotask)(() => { hangUp?.(); finish(GONE); }, timeout);
    }
  }();

  listen("addEventListener");
  // In a microtask: who closes at once, as an effect of React's StrictMode, mints nothing.
  if (signal?.aborted) abort();
  else queueMicrotask(start);
  return socket;
}
