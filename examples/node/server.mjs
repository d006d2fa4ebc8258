// A backend behind wsticket-gateway: login, a page, and a WebSocket that trusts the
// headers of the gateway. It listens on 127.0.0.1; a backend that others can reach must
// not trust these headers.
//
//   npm install && node server.mjs
import { createServer } from "node:http"
import { randomUUID } from "node:crypto"
import { readFileSync } from "node:fs"
import { WebSocketServer } from "ws"

const port = Number(process.env.PORT ?? 3000)
const gateway = process.env.GATEWAY ?? "http://127.0.0.1:8080"
const admin = process.env.ADMIN ?? "http://127.0.0.1:9090"
const read = path => readFileSync(new URL(path, import.meta.url), "utf8")
const page = read("../page/index.html").replaceAll("GATEWAY", gateway)
const client = read("../../client/index.js")
const sessions = new Map() // the cookie, a secret → the user, and an id that others may know

const server = createServer(async (request, response) => {
  const cookie = /(?:^|; )session=([0-9a-f-]{36})/.exec(request.headers.cookie ?? "")?.[1]
  const session = sessions.get(cookie)
  const answer = (status, headers = {}, body = "") => response.writeHead(status, headers).end(body)
  switch (`${request.method} ${request.url}`) {
    case "GET /":
      return answer(200, { "Content-Type": "text/html; charset=utf-8" }, page)
    case "GET /client.js":
      return answer(200, { "Content-Type": "text/javascript; charset=utf-8" }, client)

    case "POST /login": { // a real application asks for a password
      const secret = randomUUID()
      sessions.set(secret, { user: "ada", sid: randomUUID() })
      return answer(204, { "Set-Cookie": `session=${secret}; HttpOnly; SameSite=Strict; Path=/` })
    }

    case "GET /me": // the gateway asks: who sent this request for a ticket?
      if (!session) return answer(401)
      return answer(200, { "Content-Type": "application/json" }, JSON.stringify({ sub: session.user, sid: session.sid }))

    case "POST /logout": // the session ends, and its connections with it
      if (session) {
        sessions.delete(cookie)
        await fetch(`${admin}/close`, { method: "POST", body: JSON.stringify({ sid: session.sid }) })
      }
      return answer(204)
  }
  answer(404)
})

new WebSocketServer({ server, path: "/ws" }).on("connection", (socket, request) => {
  const user = decodeURIComponent(request.headers["ticket-subject"])
  socket.send(`hello ${user}`)
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }))
})

server.listen(port, "127.0.0.1", () => console.log(`listening on http://127.0.0.1:${port}`))
