"""Tools and JSON answers: what the settings say as the engine's options, and calls as messages."""

import json
from collections.abc import Sequence
from typing import Any

from mlx_deepseek.errors import PromptError
from mlx_deepseek.prompts.tools import ToolCall


def response_format(wanted: bool, schema: str) -> dict[str, Any] | None:
    """The engine's option for a JSON answer, of the schema if there is one.

    Raises:
        PromptError: the schema is no JSON object.
    """
    if not wanted:
        return None
    if not schema.strip():
        return {"type": "json_object"}
    described = _json(schema, dict, "The JSON schema under Settings", "a JSON object")
    return {"type": "json_schema", "json_schema": {"schema": described}}


def tool_list(text: str) -> list[Any] | None:
    """The tools that the settings offer, in the API's shape; None without any.

    Raises:
        PromptError: it is no JSON list.
    """
    if not text.strip():
        return None
    return _json(text, list, "The tools under Settings", "a JSON list of functions")


def results(calls: Sequence[ToolCall], text: str) -> list[dict[str, Any]]:
    """The messages of what tools gave: a JSON list has one for each call, else all are the text."""
    try:
        given = json.loads(text)
    except ValueError:
        given = None
    if len(calls) < 2 or not isinstance(given, list) or len(given) != len(calls):
        given = [text] * len(calls)
    return [
        {
            "role": "tool",
            "tool_call_id": f"call_{number}",
            "content": one if isinstance(one, str) else json.dumps(one, ensure_ascii=False),
        }
        for number, one in enumerate(given)
    ]


def _json(text: str, kind: type, what: str, expected: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise PromptError(f"{what}: {error}. Expected {expected}.") from error
    if not isinstance(value, kind):
        raise PromptError(f"{what}: {text.strip()!r:.60}. Expected {expected}.")
    return value
