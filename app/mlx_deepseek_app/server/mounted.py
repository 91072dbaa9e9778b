"""The API on the same port as another application, which answers everything else."""

from typing import Any

from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send


class Mounted:
    """ASGI middleware: requests to the API's addresses go to `api`."""

    def __init__(self, app: ASGIApp, api: Any) -> None:
        self._app = app
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on to one of the two."""
        app = self._api if scope["type"] == "http" and self._answers(scope) else self._app
        await app(scope, receive, send)

    def _answers(self, scope: Scope) -> bool:
        if scope["path"].startswith("/v1/"):
            return True
        if scope["path"] == self._api.openapi_url:
            return False
        return any(route.matches(scope)[0] != Match.NONE for route in self._api.router.routes)
