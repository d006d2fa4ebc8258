// What stands around a snippet of docs/protocols.md when a test runs it. The snippet
// makes a client; its check here waits for a greeting, has the connection broken and the
// next mint fail, and waits for the greeting on the next connection. It runs in Node and,
// bundled, in a page.
import * as ws from "ws"

globalThis.WebSocket ??= ws.WebSocket // before Node 22
const inPage = typeof document !== "undefined"

let greetings = 0
export function greeted(text) {
  if (text !== "hello ada") fail(text)
  greetings++
  if (greetings === 1) fetch((inPage ? "" : process.env.BACKEND) + "/drop", { method: "POST" })
  if (greetings === 2) end("came back")
}
export function fail(why) {
  end("failed: " + (why?.message ?? why?.type ?? why))
}
function end(how) {
  if (inPage) document.title = how
  else if (how === "came back") process.exit(0)
  else throw new Error(how)
}

export const checks = {
  graphql: ({ client }) => client.subscribe({ query: "subscription { hello }" }, { next: ({ data }) => greeted(data.hello), error: fail, complete() {} }),
  socketio: ({ socket }) => socket.on("hello", greeted),
  mqtt({ client }) {
    client.once("connect", () => client.subscribe("hello"))
    client.on("message", (_, text) => greeted(String(text)))
  },
  stomp({ client }) {
    client.onConnect = () => client.subscribe("/topic/hello", ({ body }) => greeted(body))
  },
  phoenix: ({ socket }) => socket.channel("room:1").join().receive("ok", ({ hello }) => greeted(hello)),
  signalr: ({ connection }) => connection.on("hello", greeted),
}
