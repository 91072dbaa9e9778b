"""A page that can reach nothing but its own server, and a server that hears nobody but its page.

The headers keep what is written into the page from reaching other machines. The checks keep other
sites, which a browser may visit at the same time, from reading or asking anything here: by a name
of theirs that suddenly means this machine (DNS rebinding), or by requests across sites.
"""

import ipaddress
import socket
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
ANYWHERE = ("0.0.0.0", "::", "")  # hosts that mean every address of this machine
TUNNEL = ".gradio.live"
# gradio's page has inline scripts and compiles its templates
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "media-src 'self' data: blob:",
        "connect-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    )
)
HEADERS = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


def names(host: str, share: bool) -> tuple[str, ...]:
    """The names under which a server on `host` may be asked for; one with a dot first is an end."""
    if host in LOOPBACK:
        found = LOOPBACK
    else:
        machine = socket.gethostname().lower()
        found = (*LOOPBACK, host.lower(), machine, f"{machine.split('.')[0]}.local")
    return (*found, TUNNEL) if share else found


def local_address() -> str:
    """This machine's address on its network; "" without one. Nothing is sent."""
    with socket.socket(type=socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))  # an address that belongs to nobody
            return asking.getsockname()[0]
        except OSError:
            return ""


def refusal(
    method: str, headers: dict[str, str], known: Collection[str], sites: Collection[str] = ()
) -> str:
    """Why a request is not answered; "" if it is. Header names are in lower case.

    Pages of `sites`, e.g. "http://localhost:3000", may ask.
    """
    host = headers.get("host", "").lower()
    name = (urlsplit(f"//{host}").hostname or "") if host.isprintable() else ""
    if not _is_known(name, known):
        return "This server is not called so. Use the address that the app has printed."
    origin = headers.get("origin")
    if origin in sites:
        return ""
    if origin is not None and urlsplit(origin).netloc.lower() != host:
        return "Another site may not ask this server."
    opened = method == "GET" and headers.get("sec-fetch-mode") == "navigate"
    framed = headers.get("sec-fetch-dest", "document") != "document"
    if headers.get("sec-fetch-site") in ("cross-site", "same-site") and (framed or not opened):
        return "Another site may not ask this server."
    return ""


def _is_known(name: str, known: Collection[str]) -> bool:
    """No name server can make an address mean another machine; those of this network may be used
    where the server is not only for this machine."""
    if name in known or any(end[0] == "." and name.endswith(end) for end in known):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return set(known) - {*LOOPBACK, TUNNEL} != set()


class OnlyFromHere:
    """ASGI middleware: refuses what does not come from the page itself, adds the headers."""

    def __init__(
        self,
        app: Callable[[Scope, Receive, Send], Awaitable[None]],
        known: Collection[str] = LOOPBACK,
    ) -> None:
        self._app = app
        self._known = known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with headers."""

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        if scope["type"] in ("http", "websocket"):
            headers = {
                name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
            }
            why = refusal(scope.get("method", ""), headers, self._known)
            if why and scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            if why:
                kind = (b"content-type", b"text/plain; charset=utf-8")
                await send_with_headers(
                    {"type": "http.response.start", "status": 403, "headers": [kind]}
                )
                await send({"type": "http.response.body", "body": why.encode()})
                return
        await self._app(scope, receive, send_with_headers)
