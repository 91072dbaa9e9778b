"""How a handler gets at the server that it belongs to."""

from typing import Any

from fastapi import Request


def site(request: Request) -> Any:
    """The site of a request's application."""
    return request.app.state.site
