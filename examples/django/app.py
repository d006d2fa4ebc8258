"""A Django backend behind wsticket-gateway: login, a page, and a WebSocket (Channels) that
trusts the headers of the gateway. It listens on 127.0.0.1; a backend that others can reach
must not trust these headers.

    apt-get install python3-django-channels daphne     # or: pip install channels daphne
    daphne -b 127.0.0.1 -p 3000 app:application
"""
import json
import os
import secrets
import urllib.request
from pathlib import Path
from urllib.parse import unquote

from django.conf import settings

settings.configure(
    SECRET_KEY=secrets.token_hex(),
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.sessions"],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    SESSION_ENGINE="django.contrib.sessions.backends.cache",
    SESSION_COOKIE_SAMESITE="Strict",  # other sites cannot log in or out; a real site has CSRF tokens too
)

import django

django.setup()

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.http import HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.http import require_POST

GATEWAY = os.environ.get("GATEWAY", "http://127.0.0.1:8080")
ADMIN = os.environ.get("ADMIN", "http://127.0.0.1:9090")
HERE = Path(__file__).parent
PAGE = (HERE / "../page/index.html").read_text().replace("GATEWAY", GATEWAY)
CLIENT = (HERE / "../../client/index.js").read_text()


def page(request):
    return HttpResponse(PAGE)


def client(request):
    return HttpResponse(CLIENT, content_type="text/javascript; charset=utf-8")


@require_POST
def login(request):  # a real application asks for a password
    request.session.cycle_key()
    request.session["user"] = "ada"
    request.session["sid"] = secrets.token_urlsafe()  # the session's key is a secret, this is not
    return HttpResponse(status=204)


def me(request):
    """The gateway asks: who sent this request for a ticket?"""
    if "user" not in request.session:
        return HttpResponse(status=401)
    return JsonResponse({"sub": request.session["user"], "sid": request.session["sid"]})


@require_POST
def logout(request):
    """The session ends, and its connections with it."""
    sid = request.session.get("sid")
    request.session.flush()
    if sid:
        body = json.dumps({"sid": sid}).encode()
        urllib.request.urlopen(f"{ADMIN}/close", body, timeout=5).close()
    return HttpResponse(status=204)


class Echo(AsyncWebsocketConsumer):
    async def connect(self):
        headers = dict(self.scope["headers"])
        user = unquote(headers[b"ticket-subject"].decode())
        await self.accept()
        await self.send(f"hello {user}")

    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data=text_data, bytes_data=bytes_data)


urlpatterns = [path("", page), path("client.js", client), path("login", login), path("me", me), path("logout", logout)]

application = ProtocolTypeRouter({
    "http": get_asgi_application(),
    "websocket": URLRouter([path("ws", Echo.as_asgi())]),
})
