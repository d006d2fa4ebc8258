package interop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

const migratingPage = "../docs/migrating.md"

// snippetsIn returns the snippets of a page in one language, in their order.
func snippetsIn(page, language string) (all []string) {
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```").FindAllStringSubmatch(page, -1) {
		all = append(all, m[1])
	}
	return all
}

// TestMigratingDjango puts the pieces of docs/migrating.md into a Django project that has a
// scheme with UUIDs already, and runs both side by side: nginx in front, the old listener,
// the new one, the gateway.
func TestMigratingDjango(t *testing.T) {
	if os.Getenv("WSTICKET_SLOW") == "" {
		t.Skip("runs Django twice, nginx and the gateway; set WSTICKET_SLOW=1")
	}
	daphne := installed(t, "daphne", "apt-get install python3-django-channels daphne", "/usr/bin/daphne", "daphne")
	python := installed(t, "Python", "apt-get install python3-django-channels", "/usr/bin/python3")
	nginx := installed(t, "nginx", "apt-get install nginx", "nginx", "/usr/sbin/nginx")
	page := readFile(t, migratingPage)
	hasREST := exec.Command(python, "-c", "import rest_framework").Run() == nil

	old, fresh, front, admin, web := freePort(t), freePort(t), freePort(t), freePort(t), freePort(t)
	ports := strings.NewReplacer("127.0.0.1:8001", "127.0.0.1:"+fresh, "-p 8001", "-p "+fresh, "127.0.0.1:9090", "127.0.0.1:"+admin, "127.0.0.1:8080", "127.0.0.1:"+front)
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	apps, rest := "", ""
	for _, snippet := range snippetsIn(page, "python") {
		name := regexp.MustCompile(`^# (?:in )?(\w+\.py)\n`).FindStringSubmatch(snippet)
		if name == nil {
			t.Fatalf("a snippet without the name of its file:\n%s", snippet)
		}
		if name[1] == "urls.py" {
			name[1], snippet = "project/urls_of_page.py", "from django.urls import path\n"+snippet
		}
		write(name[1], ports.Replace(snippet))
	}
	if hasREST {
		apps, rest = `"rest_framework"`, `import wsticket_api; urlpatterns += [path("api/me", wsticket_api.me)]`
	}
	write("project/settings.py", `
from pathlib import Path
SECRET_KEY = "for a test"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "project.urls"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions", `+apps+`]
MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware", "django.contrib.auth.middleware.AuthenticationMiddleware"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(__file__).parent / "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.BasicAuthentication"]}
`)
	write("project/urls.py", `
import uuid
from django.contrib import auth
from django.contrib.auth.models import User
from django.http import HttpResponse, JsonResponse
from django.urls import path
from project.urls_of_page import urlpatterns
from project import tickets

def login(request):
    auth.login(request, User.objects.get(username="ada"))
    return HttpResponse()

def logout(request):
    auth.logout(request)
    return HttpResponse()

def ws_auth(request):
    key = str(uuid.uuid4())
    tickets[key] = request.user.pk
    return JsonResponse({"key": key})

urlpatterns += [path("login", login), path("logout", logout), path("ws-auth/", ws_auth)]
`+rest+"\n")
	write("project/__init__.py", "tickets = {}\n")
	write("project/asgi.py", `
import os
from urllib.parse import parse_qs
from django.core.asgi import get_asgi_application
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django_application = get_asgi_application()
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path
from chat.routing import websocket_urlpatterns
from project import tickets
from wsticket_user import find_user

class Before:
    def __init__(self, inner):
        self.inner = inner
    async def __call__(self, scope, receive, send):
        key = parse_qs(scope["query_string"].decode())["ticket"][0]
        scope["user"] = await find_user(tickets.pop(key, None))
        return await self.inner(scope, receive, send)

application = ProtocolTypeRouter({"http": django_application, "websocket": Before(URLRouter([path("ws/", URLRouter(websocket_urlpatterns))]))})
`)
	write("chat/__init__.py", "")
	write("chat/routing.py", `
from channels.generic.websocket import AsyncWebsocketConsumer
from django.urls import path

class Chat(AsyncWebsocketConsumer):
    async def connect(self):
        await self.accept()
        await self.send("hello " + (self.scope["user"].username or "nobody"))

websocket_urlpatterns = [path("chat/", Chat.as_asgi())]
`)
	setUp := exec.Command(python, "-c", `
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from django.contrib.auth.models import User
User.objects.create_user("ada", password="lovelace")
`)
	setUp.Dir = dir
	if out, err := setUp.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	keyring, err := exec.Command(command(t), "keys", "generate").Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "keyring.json"), keyring, 0o600); err != nil {
		t.Fatal(err)
	}

	// The commands of the page, then the server that was there.
	commands := snippetsIn(page, "sh")[0]
	env := []string{"PATH=" + filepath.Dir(gatewayProgram(t)) + string(os.PathListSeparator) + filepath.Dir(daphne) + string(os.PathListSeparator) + os.Getenv("PATH"),
		"WSTICKET_LISTEN=127.0.0.1:" + front, "WSTICKET_LEEWAY=1s"}
	startIn(t, dir, env, "sh", "-c", ports.Replace(commands)+"wait\n")
	startIn(t, dir, nil, daphne, "-b", "127.0.0.1", "-p", old, "project.asgi:application")
	write("nginx.conf", `daemon off; user root; pid pid; error_log errors.log; events {}
http {
access_log off;
client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
server {
listen 127.0.0.1:`+web+`;
`+ports.Replace(snippetsIn(page, "nginx")[0])+`
location / { proxy_pass http://127.0.0.1:`+old+`; proxy_http_version 1.1; proxy_set_header Host $http_host;
proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"; }
}
}
`)
	startProgram(t, nginx, "-p", dir, "-e", "start.log", "-c", filepath.Join(dir, "nginx.conf"))
	listens(t, old)
	listens(t, fresh)
	listens(t, web)
	ready(t, "http://127.0.0.1:"+admin+"/readyz")

	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar}
	base := "127.0.0.1:" + web
	call := func(method, url string, authorize ...string) (int, map[string]any) {
		t.Helper()
		r, err := http.NewRequest(method, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(authorize) > 0 {
			r.SetBasicAuth(authorize[0], authorize[1])
		}
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		var object map[string]any
		json.Unmarshal(body, &object)
		return response.StatusCode, object
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	greeting := func(path, ticket string) (*websocket.Conn, string) {
		t.Helper()
		conn, response, err := websocket.Dial(ctx, "ws://"+base+path+"?ticket="+ticket,
			&websocket.DialOptions{HTTPHeader: http.Header{"Ticket-Subject": {"1"}, "Ticket_Subject": {"1"}}})
		if err != nil {
			if response == nil {
				return nil, err.Error()
			}
			return nil, response.Status
		}
		t.Cleanup(func() { conn.CloseNow() })
		_, message, err := conn.Read(ctx)
		if err != nil {
			return nil, err.Error()
		}
		return conn, string(message)
	}

	if status, _ := call("POST", "http://"+base+"/ticket"); status != http.StatusUnauthorized {
		t.Errorf("a stranger's mint is answered with %d", status)
	}
	call("GET", "http://"+base+"/login")
	status, minted := call("POST", "http://"+base+"/ticket")
	ticket, _ := minted["ticket"].(string)
	if status != http.StatusOK || ticket == "" {
		t.Fatalf("mint: %d %v", status, minted)
	}
	conn, said := greeting("/gw/chat/", ticket)
	if said != "hello ada" {
		t.Fatalf("by the gateway: %s", said)
	}
	if _, said := greeting("/gw/chat/", ticket); said != "401 Unauthorized" {
		t.Errorf("the same ticket again: %s", said)
	}

	// The old scheme goes on, and neither takes what is the other's, nor a header.
	_, answer := call("POST", "http://"+base+"/ws-auth/")
	key, _ := answer["key"].(string)
	if _, said := greeting("/gw/chat/", key); said != "401 Unauthorized" {
		t.Errorf("a UUID at the gateway: %s", said)
	}
	if _, said := greeting("/ws/chat/", key); said != "hello ada" {
		t.Errorf("by the old way: %s", said)
	}
	_, minted = call("POST", "http://"+base+"/ticket")
	if _, said := greeting("/ws/chat/", fmt.Sprint(minted["ticket"])); said != "hello nobody" {
		t.Errorf("a wsticket and forged headers at the old listener: %s", said)
	}

	call("GET", "http://"+base+"/logout")
	_, _, err = conn.Read(ctx)
	var closed websocket.CloseError
	if !errors.As(err, &closed) || closed.Code != 3000 {
		t.Errorf("after the logout: %v, want close code 3000", err)
	}

	t.Run("REST framework", func(t *testing.T) {
		if !hasREST {
			missing(t, "no Django REST framework; get it with: apt-get install python3-djangorestframework")
		}
		front, admin := freePort(t), freePort(t)
		ask := regexp.MustCompile("`-mint-auth (http://127.0.0.1:8001/api/me)`").FindStringSubmatch(page)
		if ask == nil {
			t.Fatal("the page does not name its mint-auth")
		}
		startProgram(t, gatewayProgram(t), "serve", "-listen", "127.0.0.1:"+front, "-admin", "127.0.0.1:"+admin, "-leeway", "1s",
			"-keys", filepath.Join(dir, "keyring.json"), "-upstream", "http://127.0.0.1:"+fresh, "-mint-auth", ports.Replace(ask[1]))
		ready(t, "http://127.0.0.1:"+admin+"/readyz")
		if status, _ := call("POST", "http://127.0.0.1:"+front+"/ticket"); status != http.StatusUnauthorized {
			t.Errorf("without a token: %d", status)
		}
		if status, minted := call("POST", "http://127.0.0.1:"+front+"/ticket", "ada", "lovelace"); status != http.StatusOK || minted["ticket"] == nil {
			t.Errorf("with one: %d %v", status, minted)
		}
	})
}

// TestMigratingPage: the JavaScript of the page is sound, and the function with the flag
// goes the way that the flag says.
func TestMigratingPage(t *testing.T) {
	t.Parallel()
	node := installed(t, "Node", "apt-get install nodejs", "node")
	snippets := snippetsIn(readFile(t, migratingPage), "js")
	dir := t.TempDir()
	for i, snippet := range snippets {
		file := filepath.Join(dir, fmt.Sprintf("%d.mjs", i))
		flagged := strings.HasPrefix(snippet, "function open(path) {")
		args := []string{"--check", file}
		if flagged {
			args = args[1:]
			snippet += `
let went
const openAsBefore = (path) => { went = path }
const connect = ({ url, ticketUrl }) => { went = url + " " + ticketUrl }
globalThis.document = { documentElement: { dataset: {} } }
open("/chat/")
if (went !== "/ws/chat/") throw new Error(went)
document.documentElement.dataset.wsticket = "on"
open("/chat/")
if (went !== "/gw/chat/ /ticket") throw new Error(went)
`
		}
		if err := os.WriteFile(file, []byte(snippet), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(node, args...).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s\n%s", err, snippet, out)
		}
	}
	if len(snippets) != 4 {
		t.Errorf("%d snippets, want 4", len(snippets))
	}
}
