// A backend behind wsticket-gateway: login, a page, and a WebSocket that trusts the
// headers of the gateway. It listens on 127.0.0.1, where nobody but the gateway can
// reach the WebSocket; a backend that others can reach must refuse them.
//
//   npm install && node server.mjs
import { createServer } from "node:http"
import { randomBytes } from "node:crypto"
import { readFileSync } from "node:fs"
import { WebSocketServer } from "ws"

const port = Number(process.env.PORT ?? 3000)
const gateway = process.env.GATEWAY ?? "http://127.0.0.1:8080"
const admin = process.env.ADMIN ?? "http://127.0.0.1:9090"
const page = readFileSync(new URL("index.html", import.meta.url), "utf8").replaceAll("GATEWAY", gateway)
const sessions = new Map() // session id → user

const server = createServer(async (request, response) => {
  const cookie = /(?:^|; )session=([0-9a-f]{32})/.exec(request.headers.cookie ?? "")?.[1]
  const user = sessions.get(cookie)
  const answer = (status, headers = {}, body = "") => response.writeHead(status, headers).end(body)
  switch (`${request.method} ${request.url}`) {
    case "GET /":
      return answer(200, { "Content-Type": "text/html; charset=utf-8" }, page)

    case "POST /login": { // a real application asks for a password
      const sid = randomBytes(16).toString("hex")
      sessions.set(sid, "ada")
      return answer(204, { "Set-Cookie": `session=${sid}; HttpOnly; SameSite=Strict; Path=/` })
    }

    case "GET /me": // the gateway asks: who sent this request for a ticket?
      if (!user) return answer(401)
      return answer(200, { "Content-Type": "application/json" }, JSON.stringify({ sub: user, sid: cookie }))

    case "POST /logout": // the session ends, and its connections with it
      sessions.delete(cookie)
      await fetch(`${admin}/close`, { method: "POST", body: JSON.stringify({ sid: cookie ?? "none" }) })
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
