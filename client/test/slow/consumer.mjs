// Runs in Node, Bun and Deno with the installed package: connects, loses the connection,
// comes back, is refused, and says on standard output what it saw.
import { connect } from "@wsticket/client";

const [base, ws] = (globalThis.Deno?.args ?? process.argv.slice(2));
const options = { url: base.replace("http", "ws") + "/ws", ticketUrl: base + "/ticket", baseDelay: 100, maxDelay: 500, timeout: 5_000 };
if (ws === "ws") options.WebSocket = (await import("ws")).WebSocket;

const events = [];
const socket = connect(options);
for (const type of ["open", "message", "error", "close", "mintfailed", "unauthorized", "forbidden", "gaveup"]) {
  socket.addEventListener(type, (e) => events.push([type, e.data, type === "close" ? e.code : undefined, e.status].filter((x) => x !== undefined).join(" ")));
}
const next = (type) => new Promise((done, fail) => {
  const late = setTimeout(() => fail(new Error(`no ${type} after ${JSON.stringify(events)}`)), 60_000);
  socket.addEventListener(type, (event) => { clearTimeout(late); done(event); }, { once: true });
});
const control = (query) => fetch(`${base}/control?${query}`, { method: "POST" });
const hear = async (text) => { const heard = next("message"); socket.send(text); await heard; };

let open = next("open");
await open;
await hear("text");
socket.binaryType = "arraybuffer";
const binary = next("message");
socket.send(new Uint8Array([1, 2, 3]));
const { data } = await binary;
events[events.length - 1] = "message " + (data instanceof ArrayBuffer ? "binary " + new Uint8Array(data) : typeof data);

open = next("open");
await control("end=1001");
await open;
await hear("again");

// A reset of the connection, and handshakes that are refused.
await control("of=gate&status=503&times=2");
open = next("open");
await control("end=reset");
await open;
await hear("and again");

await control("of=gate&status=403");
const end = next("close").then(() => ws === "ws" ? next("close") : undefined);
await control("end=1001");
await end;
if (ws !== "ws") await next("close");
socket.close();
if (socket.readyState !== 3) await next("close");
console.log(JSON.stringify(events));
