"""What the app is called and looks like outside of its page: in a tab, in the Dock, in a preview.

Gradio's page names itself Gradio there, and its manifest has Gradio's icon.
"""

import gzip
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.responses import Response

from mlx_deepseek_app.widgets.icons import STATIC

NAME = "mlx-deepseek"
ABOUT = "Open-weight DeepSeek models on your own machine."
SIZES_PX = (192, 512)
LEVEL = 5  # of gzip: 530 kB become 80 in 10 ms
MANIFEST = {
    "name": NAME,
    "short_name": "DeepSeek",
    "description": ABOUT,
    "id": "/",
    "start_url": "./",
    "scope": "./",
    "display": "standalone",
    "background_color": "#ffffff",
    "theme_color": "#3b57e0",
    "icons": [
        {"src": f"./icon-{px}.png", "sizes": f"{px}x{px}", "type": "image/png", "purpose": "any"}
        for px in SIZES_PX
    ]
    + [{"src": "./icon.svg", "sizes": "any", "type": "image/svg+xml", "purpose": "any"}],
}
HEAD = (
    f'<title>{NAME}</title><meta name="application-name" content="{NAME}">'
    f'<meta name="description" content="{ABOUT}"><meta property="og:title" content="{NAME}">'
    f'<meta property="og:type" content="website"><meta property="og:description" content="{ABOUT}">'
    '<meta property="og:image" content="./icon-512.png">'
    '<link rel="icon" type="image/svg+xml" href="./icon.svg">'
    '<link rel="apple-touch-icon" href="./icon-192.png">'
)
GRADIOS = re.compile(rb'\s*<meta\s+(?:property|name)="(?:og|twitter):[^>]*>')
Message = MutableMapping[str, Any]


class Identity:
    """ASGI middleware: the manifest and the icons, and the names at the head of the page."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        """Answer, or pass on."""
        path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await self._app(scope, receive, send)
        elif (made := made_here(path)) is not None:
            await made(scope, receive, send)
        elif path in ("", "/"):
            packs = b"gzip" in dict(scope["headers"]).get(b"accept-encoding", b"")
            await self._app(scope, receive, Renamed(send, packs))
        else:
            await self._app(scope, receive, send)


def made_here(path: str) -> Response | None:
    """The answer for a path that the identity has; None for others."""
    if path == "/manifest.json":
        return Response(json.dumps(MANIFEST), media_type="application/manifest+json")
    if path == "/icon.svg":
        return Response((STATIC / "icon.svg").read_bytes(), media_type="image/svg+xml")
    if path in [f"/icon-{px}.png" for px in SIZES_PX]:
        return Response((STATIC / path[1:]).read_bytes(), media_type="image/png")
    return None


class Renamed:
    """Sends a page with its names in place of Gradio's, a sixth as long where `packs` is true."""

    def __init__(self, send: Callable[[Message], Awaitable[None]], packs: bool = False) -> None:
        self._send = send
        self._packs = packs
        self._start: Message = {}
        self._body = b""

    async def __call__(self, message: Message) -> None:
        """Hold a page back until it is whole; pass on what is none."""
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        headers = [pair for pair in self._start["headers"] if pair[0].lower() != b"content-length"]
        kinds = [value for name, value in headers if name.lower() == b"content-type"]
        if any(kind.startswith(b"text/html") for kind in kinds):
            renamed = GRADIOS.sub(b"", self._body)
            self._body = renamed.replace(b"<head>", b"<head>" + HEAD.encode(), 1)
            headers.append((b"vary", b"accept-encoding"))
            if self._packs and not any(name.lower() == b"content-encoding" for name, _ in headers):
                self._body = gzip.compress(self._body, LEVEL)
                headers.append((b"content-encoding", b"gzip"))
        headers.append((b"content-length", str(len(self._body)).encode()))
        await self._send({**self._start, "headers": headers})
        await self._send({"type": "http.response.body", "body": self._body})
