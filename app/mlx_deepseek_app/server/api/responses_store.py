"""Responses that later requests go on from, in memory only."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlx_deepseek_app.server.errors import ApiError
from mlx_deepseek_app.server.request import Message


@dataclass(frozen=True)
class Stored:
    """A response, the items that it answers, and the conversation that ends with it."""

    response: dict[str, Any]
    items: Sequence[Any]
    messages: Sequence[Message]


class ResponsesStore:
    """Keeps the newest; the oldest go first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._stored: OrderedDict[str, Stored] = OrderedDict()

    def put(self, stored: Stored) -> None:
        """Keep a response."""
        self._stored[stored.response["id"]] = stored
        while len(self._stored) > self._most:
            self._stored.popitem(last=False)

    def get(self, number: str) -> Stored:
        """A response by its id.

        Raises:
            ApiError: it is not there, or not any more.
        """
        stored = self._stored.get(number)
        if stored is None:
            raise ApiError(
                f"There is no response {number[:100]!r}. The newest {self._most} are kept until "
                "the server ends; send the conversation itself instead.",
                404,
                param="previous_response_id",
                code="response_not_found",
            )
        return stored

    def delete(self, number: str) -> None:
        """Forget a response; ApiError if it is not there."""
        self.get(number)
        del self._stored[number]
