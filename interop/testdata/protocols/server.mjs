// The backend of one protocol, behind the gateway: node server.mjs PROTOCOL PORT. GET / is
// a page with app-PORT.js, where the test has put the bundled client.
// GET /me says who everybody is, GET /seen which handshakes came, POST /drop breaks all
// connections and has the next question to /me fail. Each protocol greets the user of the header Ticket-Subject.
import { createServer } from "node:http"
import { readFileSync } from "node:fs"
import { WebSocketServer, createWebSocketStream } from "ws"

const [protocol, port] = process.argv.slice(2)
const seen = []
const open = new Set()
let failing = false

const server = createServer((request, response) => {
  switch (`${request.method} ${request.url}`) {
    case "GET /":
      return response.writeHead(200, { "Content-Type": "text/html" }).end("<!doctype html><title>begins</title><script type=module src=/app.js></script>")
    case "GET /app.js":
      return response.writeHead(200, { "Content-Type": "text/javascript" }).end(readFileSync(`app-${port}.js`))
    case "GET /me":
      if (failing) {
        failing = false
        return response.writeHead(500).end()
      }
      return response.writeHead(200, { "Content-Type": "application/json" }).end('{"sub":"ada"}')
    case "GET /seen":
      return response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(seen))
    case "POST /drop":
      failing = true
      for (const socket of open) socket.destroy()
      return response.writeHead(204).end()
  }
  response.writeHead(404).end()
})
server.on("upgrade", (request, socket) => {
  seen.push({ target: request.url, user: request.headers["ticket-subject"], protocols: request.headers["sec-websocket-protocol"] ?? "" })
  open.add(socket)
  socket.on("close", () => open.delete(socket))
})
const user = (request) => decodeURIComponent(request.headers["ticket-subject"])

const serve = {
  async graphql() {
    const { GraphQLSchema, GraphQLObjectType, GraphQLString } = await import("graphql")
    const { useServer } = await import("graphql-ws/use/ws")
    const hello = {
      type: GraphQLString,
      subscribe: async function* (_, __, { name }) {
        yield { hello: "hello " + name }
        await new Promise(() => {})
      },
    }
    const schema = new GraphQLSchema({
      query: new GraphQLObjectType({ name: "Query", fields: { hello: { type: GraphQLString } } }),
      subscription: new GraphQLObjectType({ name: "Subscription", fields: { hello } }),
    })
    useServer({ schema, context: ({ extra }) => ({ name: user(extra.request) }) }, new WebSocketServer({ server, path: "/graphql" }))
  },

  async socketio() {
    const { Server } = await import("socket.io")
    new Server(server, { transports: ["websocket"] }).on("connection", (socket) => socket.emit("hello", "hello " + user(socket.request)))
  },

  async mqtt() {
    const { Aedes } = await import("aedes")
    const broker = await Aedes.createBroker()
    new WebSocketServer({ server, path: "/mqtt" }).on("connection", (socket, request) => broker.handle(createWebSocketStream(socket), request))
    broker.on("subscribe", (_, client) => client.publish({ topic: "hello", payload: "hello " + user(client.req), qos: 0 }, () => {}))
  },

  // A stand-in for a broker: STOMP 1.2 as far as one subscription.
  stomp() {
    new WebSocketServer({ server, path: "/stomp", handleProtocols: () => "v12.stomp" }).on("connection", (socket, request) => socket.on("message", (text) => {
      const [command, ...headers] = String(text).split("\n")
      if (command === "CONNECT") socket.send("CONNECTED\nversion:1.2\nheart-beat:0,0\n\n\0")
      if (command === "SUBSCRIBE") {
        const id = headers.find((line) => line.startsWith("id:")).slice(3)
        socket.send(`MESSAGE\nsubscription:${id}\nmessage-id:1\ndestination:/topic/hello\n\nhello ${user(request)}\0`)
      }
    }))
  },

  // A stand-in for Phoenix: as much of its channel protocol, version 2, as a join needs.
  phoenix() {
    new WebSocketServer({ server, path: "/socket/websocket" }).on("connection", (socket, request) => socket.on("message", (text) => {
      const [joined, ref, topic] = JSON.parse(text)
      socket.send(JSON.stringify([joined, ref, topic, "phx_reply", { status: "ok", response: { hello: "hello " + user(request) } }]))
    }))
  },

  // A stand-in for ASP.NET Core: the handshake of the hub protocol and one call.
  signalr() {
    new WebSocketServer({ server, path: "/hub" }).on("connection", (socket, request) => socket.once("message", () => {
      socket.send("{}\x1e")
      socket.send(JSON.stringify({ type: 1, target: "hello", arguments: ["hello " + user(request)] }) + "\x1e")
    }))
  },
}

await serve[protocol]()
server.listen(Number(port), "127.0.0.1")
