# A Ruby backend behind wsticket-gateway: login, a page, and a WebSocket that trusts the
# headers of the gateway. It listens on 127.0.0.1; a backend that others can reach must not
# trust these headers.
#
#   apt-get install puma ruby-faye-websocket     # or: gem install puma faye-websocket
#   puma -b tcp://127.0.0.1:3000
require "faye/websocket"
require "json"
require "net/http"
require "securerandom"
require "uri"

GATEWAY = ENV.fetch("GATEWAY", "http://127.0.0.1:8080")
ADMIN = ENV.fetch("ADMIN", "http://127.0.0.1:9090")
PAGE = File.read(File.join(__dir__, "../page/index.html")).gsub("GATEWAY", GATEWAY)
CLIENT = File.read(File.join(__dir__, "../../client/index.js"))
SESSIONS = {} # the cookie, a secret => the user, and an id that others may know

def answer(status, headers = {}, body = "")
  [status, headers, [body]]
end

def socket(env)
  user = URI::DEFAULT_PARSER.unescape(env["HTTP_TICKET_SUBJECT"])
  ws = Faye::WebSocket.new(env)
  ws.on(:open) { ws.send("hello #{user}") }
  ws.on(:message) { |event| ws.send(event.data) }
  ws.rack_response
end

run(lambda do |env|
  next socket(env) if Faye::WebSocket.websocket?(env) && env["PATH_INFO"] == "/ws"

  cookie = env["HTTP_COOKIE"].to_s[/(?:\A|; )session=(\h{32})/, 1]
  session = SESSIONS[cookie]
  case "#{env['REQUEST_METHOD']} #{env['PATH_INFO']}"
  when "GET /"
    answer(200, { "Content-Type" => "text/html; charset=utf-8" }, PAGE)
  when "GET /client.js"
    answer(200, { "Content-Type" => "text/javascript; charset=utf-8" }, CLIENT)
  when "POST /login" # a real application asks for a password
    secret = SecureRandom.hex(16)
    SESSIONS[secret] = { user: "ada", sid: SecureRandom.uuid }
    answer(204, { "Set-Cookie" => "session=#{secret}; HttpOnly; SameSite=Strict; Path=/" })
  when "GET /me" # the gateway asks: who sent this request for a ticket?
    next answer(401) unless session

    answer(200, { "Content-Type" => "application/json" }, { sub: session[:user], sid: session[:sid] }.to_json)
  when "POST /logout" # the session ends, and its connections with it
    if SESSIONS.delete(cookie)
      Net::HTTP.post(URI("#{ADMIN}/close"), { sid: session[:sid] }.to_json)
    end
    answer(204)
  else
    answer(404)
  end
end)
