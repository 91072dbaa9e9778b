"""The page where visitors sign in, and the gate that sends them there.

Wrong passwords make an address wait, longer each time: guessing takes years, a slip a moment.
"""

import hmac
import json
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

STATIC = Path(__file__).parents[1] / "static"
ADDRESS = "/sign-in"
COOKIE = "mlx-deepseek-session"
OPEN = "/gradio_api/startup-events"  # gradio asks this of itself as it starts, and tells nothing
FREE_TRIES, LONGEST_WAIT_S = 5, 300
KNOWN_AT_MOST = 10_000  # addresses and sessions
BODY_AT_MOST = 10_000
CHINESE = "zh"
WORDS = {
    "title": "Sign in",
    "who": "Somebody shares the models of this machine with you.",
    "label": "Password",
    "button": "Sign in",
    "hint": "It stands in the terminal where the app was started.",
}
WRONG = "The password is wrong."
WAIT = "Too many wrong passwords. Try again in {n} s."


class Tries:
    """The wrong passwords of each address, and how long it has to wait for them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()  # how many, until when

    def wait_s(self, address: str) -> float:
        """The seconds until this address may try again."""
        _, until = self._wrong.get(address, (0, 0.0))
        return max(until - self._clock(), 0.0)

    def failed(self, address: str) -> None:
        """Count a wrong password."""
        count = self._wrong.pop(address, (0, 0.0))[0] + 1
        wait = 0 if count < FREE_TRIES else min(2.0 ** (count - FREE_TRIES), LONGEST_WAIT_S)
        self._wrong[address] = count, self._clock() + wait
        if len(self._wrong) > KNOWN_AT_MOST:
            self._wrong.popitem(last=False)

    def passed(self, address: str) -> None:
        """Forget the wrong ones."""
        self._wrong.pop(address, None)


class SignIn:
    """ASGI middleware: only who knows the password passes."""

    def __init__(self, app: Any, password: str) -> None:
        self._app = app
        self._password = password.encode()
        self._sessions: OrderedDict[str, None] = OrderedDict()
        self._tries = Tries()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, show the page, or refuse."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            if self._knows(scope):
                await self._app(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008})
        elif scope["path"] == ADDRESS:
            await (await self._signed(Request(scope, receive)))(scope, receive, send)
        elif scope["path"] == OPEN or self._knows(scope):
            await self._app(scope, receive, send)
        else:
            await self._refusal(Request(scope, receive))(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        cookies = Request({**scope, "type": "http"}).cookies
        return cookies.get(COOKIE, "") in self._sessions

    def _refusal(self, request: Request) -> Response:
        if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            return _page(request)
        return PlainTextResponse("Sign in first: open this address in a browser.", 401)

    async def _signed(self, request: Request) -> Response:
        if request.method != "POST":
            return RedirectResponse(_root(request), 303)
        address = request.client.host if request.client else ""
        if (wait_s := self._tries.wait_s(address)) > 0:
            return _page(request, WAIT, 429, int(wait_s) + 1)
        given = parse_qs((await _body(request)).decode("utf-8", "replace")).get("password", [""])
        if not hmac.compare_digest(given[0].encode(), self._password):
            self._tries.failed(address)
            return _page(request, WRONG, 401)
        self._tries.passed(address)
        session = secrets.token_urlsafe(32)
        self._sessions[session] = None
        if len(self._sessions) > KNOWN_AT_MOST:
            self._sessions.popitem(last=False)
        response = RedirectResponse(_root(request), 303)
        secure = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
        response.set_cookie(COOKIE, session, httponly=True, samesite="lax", secure=secure)
        return response


def _root(request: Request) -> str:
    return request.scope.get("root_path", "") + "/"


async def _body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > BODY_AT_MOST:
            return b""
    return body


def _page(request: Request, wrong: str = "", status: int = 401, wait_s: int = 0) -> Response:
    chinese = request.headers.get("accept-language", "").lower().startswith(CHINESE)
    said = json.loads((STATIC / "chinese.json").read_text("utf-8")) if chinese else {}
    words = {name: said.get(text, text) for name, text in WORDS.items()}
    words["wrong"] = said.get(wrong, wrong).replace("{n}", str(wait_s))
    words |= {"lang": "zh-CN" if chinese else "en", "action": _root(request) + ADDRESS[1:]}
    html = (STATIC / "sign_in.html").read_text("utf-8")
    for name, text in words.items():
        html = html.replace(f"[[{name}]]", escape(text))
    headers = {"cache-control": "no-store"} | ({"retry-after": str(wait_s)} if wait_s else {})
    return HTMLResponse(html.replace("[[icon]]", _icon()), status, headers)


def _icon() -> str:
    return (STATIC / "icon.svg").read_text("utf-8")
