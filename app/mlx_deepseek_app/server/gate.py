"""What every request passes before its handler: who asks, how much, and what if that fails."""

import hmac
from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlx_deepseek_app.server import errors
from mlx_deepseek_app.server.errors import ApiError
from mlx_deepseek_app.server.metrics import Metrics
from mlx_deepseek_app.server.security import refusal
from mlx_deepseek_app.server.settings import ServerSettings

OPEN_PATHS = ("/health",)
HEADERS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))


class Gate:
    """ASGI middleware in front of everything.

    A request must name this server, come from no other site than those of `cors`, have the key and
    a body of a permitted size. What a handler raises becomes an answer in its API's shape.
    """

    def __init__(
        self, app: ASGIApp, settings: ServerSettings, known: Collection[str], metrics: Metrics
    ) -> None:
        self._app = app
        self._settings = settings
        self._known = known
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or answer at once."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
            return
        body = LimitedBody(receive, self._settings.body_bytes)
        sender = Sender(send, scope["path"], self._metrics, body)
        try:
            self._check(scope)
            await self._app(scope, body.receive, sender.send)
        except Exception as error:
            told = errors.understood(error)  # which logs what is nobody's mistake
            if not sender.begun:
                await sender.refuse(told)

    def _check(self, scope: Scope) -> None:
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        why = refusal(scope["method"], headers, self._known, self._settings.cors)
        if why:
            raise ApiError(why, 403)
        key = self._settings.api_key
        preflight = scope["method"] == "OPTIONS" and "origin" in headers
        if key is not None and scope["path"] not in OPEN_PATHS and not preflight:
            scheme, _, token = headers.get("authorization", "").partition(" ")
            given = token if scheme.lower() == "bearer" else headers.get("x-api-key", "")
            if not hmac.compare_digest(given.strip().encode(), key.encode()):
                raise ApiError(
                    "The API key is missing or wrong. Expected the server's, as `Authorization: "
                    "Bearer KEY` or `x-api-key: KEY`.",
                    401,
                    code="invalid_api_key",
                )


class LimitedBody:
    """A request's body, which is at most so many bytes."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._most = most
        self._receive = receive
        self._taken = 0

    async def receive(self) -> Message:
        """The next part; ApiError if it is too much."""
        message = await self._receive()
        self._taken += len(message.get("body", b""))
        if self.excess:
            raise self.excess
        return message

    @property
    def excess(self) -> ApiError | None:
        """What is said where there was too much."""
        if self._taken <= self._most:
            return None
        return ApiError(
            f"The body is larger than {self._most / (1 << 20):.3g} MiB. Send less, or start the "
            "server with a larger --max-body.",
            413,
        )


class Sender:
    """Sends a response, which is another one where its request was too large."""

    def __init__(self, send: Send, path: str, metrics: Metrics, body: LimitedBody) -> None:
        self.begun = False
        self._send = send
        self._path = path
        self._metrics = metrics
        self._body = body
        self._replaced = False

    async def send(self, message: Message) -> None:
        """Pass a part on, with headers."""
        if message["type"] == "http.response.start" and self._body.excess and not self._replaced:
            await self.refuse(self._body.excess)  # handlers cannot tell why there was no body
            return
        if not self._replaced:
            await self._pass(message)

    async def refuse(self, error: ApiError) -> None:
        """Answer with an error."""
        self._replaced = True
        scope = {"type": "http"}
        await errors.response(error, self._path)(scope, self._body.receive, self._pass)

    async def _pass(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            self._metrics.response(message["status"])
            message["headers"] = [*message.get("headers", ()), *HEADERS]
        await self._send(message)
