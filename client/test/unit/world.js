// A world in which the client runs against a clock that stands until it is moved, and
// a server that does what a test wants. install puts it in place of the globals that
// the client reads, and takes it away when the test ends.

import { setMaxListeners } from "node:events";

const real = { Date: globalThis.Date, setTimeout, clearTimeout, setImmediate, random: Math.random };

// Clock has two hands, as a computer has: timers go by the one that stands still while
// it sleeps, Date by the other.
export class Clock {
  ran = 0; // milliseconds awake
  wall = 1_795_219_200_000;
  #timers = []; // a heap by time, and by order where that is the same
  #made = 0;
  #passed = 0;

  setTimeout = (run, ms = 0) => {
    // As in browsers: what does not fit into 31 bits, and what is no number, is at once.
    const wait = ms >= 0 && ms < 2 ** 31 ? ms : 0;
    const timer = { at: this.ran + wait, n: this.#made++, run };
    const heap = this.#timers;
    let i = heap.push(timer) - 1;
    for (let up; i > 0 && before(timer, heap[up = (i - 1) >> 1]); i = up) heap[i] = heap[up];
    heap[i] = timer;
    return timer;
  };
  clearTimeout = (timer) => { if (timer) timer.run = null; };

  #pop() {
    const heap = this.#timers, first = heap[0], last = heap.pop();
    if (heap.length > 0) {
      let i = 0;
      for (;;) {
        let down = 2 * i + 1;
        if (down >= heap.length) break;
        if (down + 1 < heap.length && before(heap[down + 1], heap[down])) down++;
        if (!before(heap[down], last)) break;
        heap[i] = heap[down];
        i = down;
      }
      heap[i] = last;
    }
    return first;
  }

  #to(ran) {
    this.wall += ran - this.ran;
    this.ran = ran;
  }

  get waiting() { return this.#timers.filter((timer) => timer.run).length; }

  /** What is due within ms runs, each with the microtasks that follow from it. */
  async pass(ms) {
    const end = this.ran + ms;
    if (++this.#passed > 10_000) throw new Error("a loop: what the test waits for does not come");
    let stood = 0, since = this.ran;
    await settled();
    while (this.#timers.length > 0 && this.#timers[0].at <= end) {
      const { at, run } = this.#pop();
      if (!run) continue;
      this.#to(Math.max(at, this.ran));
      stood = this.ran > since + 1 ? 0 : stood + 1;
      if (stood === 0) since = this.ran;
      if (stood > 20_000) throw new Error("a loop: no time passes");
      run();
      await settled();
    }
    this.#to(end);
  }

  /** The lid is closed for ms: Date goes on, timers do not. */
  sleep(ms) { this.wall += ms; }
}

const NAMES = ["Date", "setTimeout", "clearTimeout", "WebSocket", "document", "location", "addEventListener", "removeEventListener", "fetch"];
const originals = NAMES.map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)]);

function restore() {
  for (const [name, was] of originals) {
    if (was) Object.defineProperty(globalThis, name, was);
    else delete globalThis[name];
  }
  Math.random = real.random;
}

const before = (a, b) => a.at < b.at || a.at === b.at && a.n < b.n;

/** Resolves when no microtask is left. */
export const settled = () => new Promise((done) => real.setImmediate(done));

/** A page, or a worker where hidden is undefined. */
class Page extends EventTarget {
  hidden = false;
  set(hidden) {
    this.hidden = hidden;
    this.dispatchEvent(new Event("visibilitychange"));
  }
}

export function install(t, { page = true } = {}) {
  const clock = new Clock();
  const world = {
    clock,
    sockets: [], // all that were made, the newest last
    seen: new Map(), // tickets that were shown, and how often
    document: page ? new Page() : undefined,
    window: new EventTarget(),
    random: seeded(1), // the same chance in each run
    /** What the server does with a new socket. */
    serve: (socket) => socket.accept(),
    get last() { return world.sockets.at(-1); },
    get replayed() { return [...world.seen.values()].filter((times) => times > 1).length; },
    online() { world.window.dispatchEvent(new Event("online")); },
  };

  class Socket extends EventTarget {
    readyState = 0;
    binaryType = "blob";
    bufferedAmount = 0;
    protocol = "";
    extensions = "";
    sent = [];
    constructor(url, protocols = []) {
      super();
      this.url = String(url);
      this.protocols = [protocols].flat();
      this.at = clock.ran;
      const byQuery = /[?&]ticket=([^&]*)/.exec(this.url)?.[1];
      const byProtocol = this.protocols.find((name) => name.startsWith("ticket."))?.slice(7);
      this.ticket = byQuery ?? byProtocol;
      world.seen.set(this.ticket, (world.seen.get(this.ticket) ?? 0) + 1);
      world.sockets.push(this);
      queueMicrotask(() => world.serve(this));
    }
    send(data) {
      if (this.readyState === 0) throw new DOMException("connecting", "InvalidStateError");
      if (this.readyState === 1) this.sent.push(data);
    }
    close(code, reason = "") {
      if (code !== undefined && code !== 1000 && !(code >= 3000 && code <= 4999)) throw new DOMException("code", "InvalidAccessError");
      if (reason.length > 123) throw new DOMException("reason", "SyntaxError");
      if (this.readyState > 1) return;
      const open = this.readyState === 1;
      this.readyState = 2;
      this.closedWith = [code, reason];
      if (!open) queueMicrotask(() => this.fail());
      else if (!world.deaf) queueMicrotask(() => this.end(code ?? 1005, reason));
    }

    // What the server does.
    accept(protocol = this.protocols.find((name) => !name.startsWith("ticket.")) ?? "") {
      if (this.readyState !== 0) return;
      this.readyState = 1;
      this.protocol = protocol;
      this.dispatchEvent(new Event("open"));
    }
    message(data) { this.dispatchEvent(Object.assign(new Event("message"), { data, origin: "wss://gw.example" })); }
    refuse(message) { // the handshake fails; only some runtimes say more than that
      if (this.readyState !== 0) return;
      this.fail(message);
    }
    fail(message) {
      this.dispatchEvent(Object.assign(new Event("error"), { message }));
      this.end(1006, "", false);
    }
    end(code = 1006, reason = "", wasClean = code !== 1006) {
      if (this.readyState === 3) return;
      this.readyState = 3;
      this.dispatchEvent(Object.assign(new Event("close"), { code, reason, wasClean }));
    }
    /** 101 and a close frame at once. */
    acceptAndClose(code) { this.accept(); this.end(code); }
  }
  world.WebSocket = Socket;
  setMaxListeners(0, world.window);
  if (page) setMaxListeners(0, world.document);

  const globals = {
    Date: class extends real.Date {
      constructor(...args) { super(...(args.length ? args : [clock.wall])); }
      static now() { return clock.wall; }
    },
    setTimeout: clock.setTimeout,
    clearTimeout: clock.clearTimeout,
    WebSocket: Socket,
    addEventListener: world.window.addEventListener.bind(world.window),
    removeEventListener: world.window.removeEventListener.bind(world.window),
    fetch: (...args) => world.fetch(...args),
  };
  if (page) Object.assign(globals, { document: world.document, location: { href: "https://app.example/room/1?a=1" } });
  restore(); // of a world that this one replaces
  for (const [name, value] of Object.entries(globals)) Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  Math.random = () => world.random();
  t.after(restore);
  return world;
}

/** A getTicket that hands out t1, t2, … and notes who asked. */
export function minter(world, { life = 10, name = "t" } = {}) {
  const asked = [];
  let made = 0;
  const getTicket = async ({ attempt, signal }) => {
    const call = { attempt, signal, at: world.clock.ran };
    asked.push(call);
    if (asked.length > 5_000) throw new Error("a loop: it mints and mints");
    made++;
    if (getTicket.instead) return getTicket.instead(call);
    return { ticket: name.replaceAll(" ", "-") + made, expires_in: life };
  };
  getTicket.asked = asked;
  return getTicket;
}

/** A ticket as the library makes them, of a session that ends so many seconds on. */
export function sessionTicket(n, session, { iat = 1000 } = {}) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  return [part({ alg: "HS256", kid: "k1", typ: "ws-ticket+jwt" }), part({ jti: "nonce-" + n, sub: "ÿ?>~ø\u{10ffff}" + n, iat, exp: iat + 10, session_exp: iat + session }), "mac"].join(".");
}

/** A mulberry32, so that a test that needs chance has the same one each time. */
export function seeded(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let x = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

const TYPES = ["open", "message", "error", "close", "mintfailed", "unauthorized", "forbidden", "gaveup"];

/** The events of a socket as lines, as they come; what they were is in .events. */
export function listen(socket) {
  const lines = [];
  Object.defineProperty(lines, "events", { value: [] });
  for (const type of TYPES) {
    socket.addEventListener(type, (event) => {
      lines.events.push(event);
      let line = type;
      if (type === "open" && event.renewed) line += " renewed";
      if (type === "message") line += " " + event.data;
      if (type === "close") line += " " + event.code + (event.retryIn === undefined ? " for good" : "");
      if (type === "mintfailed") line += " " + event.status;
      if (type === "gaveup" || type === "forbidden" || type === "unauthorized") line += " " + (event.status ?? event.code);
      lines.push(line);
    });
  }
  return lines;
}
