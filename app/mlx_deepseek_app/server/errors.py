"""What goes wrong with a request, in the shape of the API that was asked."""

import logging
import math
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import ErrorDetails
from starlette.responses import JSONResponse

from mlx_deepseek import errors as library

log = logging.getLogger("mlx_deepseek.server")
ANTHROPIC = ("/anthropic/", "/v1/messages")
INVALID, BUSY, BROKEN = 400, 503, 500
# By status: the type of an error in OpenAI's API and in Anthropic's.
TYPES: Mapping[int, tuple[str, str]] = {
    400: ("invalid_request_error", "invalid_request_error"),
    401: ("authentication_error", "authentication_error"),
    403: ("permission_error", "permission_error"),
    404: ("invalid_request_error", "not_found_error"),
    405: ("invalid_request_error", "invalid_request_error"),
    413: ("invalid_request_error", "request_too_large"),
    415: ("invalid_request_error", "invalid_request_error"),
    500: ("server_error", "api_error"),
    503: ("server_error", "overloaded_error"),
}


@dataclass
class ApiError(Exception):
    """A request that is refused; `param` is the part of it that is wrong."""

    message: str
    status: int = INVALID
    param: str | None = None
    code: str | None = None
    retry_after_s: float | None = None

    def __str__(self) -> str:
        return self.message

    def body(self, anthropic: bool) -> dict[str, Any]:
        """The error as a client of the API expects it."""
        openai_type, anthropic_type = TYPES.get(self.status, TYPES[BROKEN])
        if anthropic:
            error = {"type": anthropic_type, "message": self.message}
            return {"type": "error", "error": error}
        error = {"message": self.message, "type": openai_type}
        return {"error": error | {"param": self.param, "code": self.code}}


def of_anthropic(path: str) -> bool:
    """Whether a path belongs to Anthropic's API."""
    return path.startswith(ANTHROPIC)


def response(error: ApiError, path: str) -> JSONResponse:
    """The whole answer to a request that is refused."""
    headers = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse(error.body(of_anthropic(path)), error.status, headers)


def invalid(details: list[ErrorDetails]) -> ApiError:
    """The first of what pydantic found wrong in a body."""
    first = details[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    rest = f" ({len(details) - 1} more)" if len(details) > 1 else ""
    return ApiError(f"{where or 'The body'}: {first['msg']}{rest}.", param=where or None)


def understood(error: BaseException) -> ApiError:
    """Any exception as what a client is told; what is nobody's mistake goes to the log.

    The log has where it came from, not its words, which may be those of a conversation.
    """
    if isinstance(error, ApiError):
        return error
    match error:
        case library.Busy():
            return ApiError(str(error), BUSY, code="busy", retry_after_s=error.retry_after_s)
        case library.PromptError() | library.ImageError():
            return ApiError(str(error))
        case library.MemoryLimitError():
            return ApiError(str(error), BUSY, code="no_memory", retry_after_s=30)
        case library.HostsError():
            return ApiError(str(error), BUSY, code="machine_lost")
        case library.DeepSeekError():
            return ApiError(str(error), BROKEN)
    frames = "".join(traceback.format_tb(error.__traceback__))
    log.error("%s in\n%s", type(error).__name__, frames)
    return ApiError(
        f"The server failed ({type(error).__name__}); its log says where. "
        "Other requests go on. Ask again, and report it if it comes again.",
        BROKEN,
    )
