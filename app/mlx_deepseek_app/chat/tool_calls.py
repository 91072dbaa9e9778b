"""Calls of tools in a conversation: asked about, run, and what they give as the next message."""

import asyncio
from typing import Any

from mlx_deepseek.prompts.tools import ToolCall
from mlx_deepseek_app.conversation.conversation import Conversation
from mlx_deepseek_app.tools.toolbox import Toolbox, declined

ONCE, ALWAYS, NEVER = "run once", "run always", "run not"
OPTIONS = [
    {"value": ONCE, "label": "Run once"},
    {"value": ALWAYS, "label": "Always in this chat"},
    {"value": NEVER, "label": "Don't run"},
]
ROUNDS_AT_MOST = 20  # of calls that nobody is asked about, in a row


def waiting(conversation: Conversation) -> tuple[ToolCall, ...]:
    """The calls at the end of a conversation, which nobody has answered yet."""
    last = conversation.messages[-1] if conversation.messages else None
    return last.calls if last is not None and last.state == "done" else ()


def options(conversation: Conversation, toolbox: Toolbox | None) -> list[dict[str, Any]]:
    """What can be said to the calls that wait, if the tools are here."""
    here = toolbox is not None and toolbox.can_run(waiting(conversation))
    return OPTIONS if here else []


async def decided(conversation: Conversation, choice: str, toolbox: Toolbox) -> str | None:
    """The next message after a choice of OPTIONS; None where there is nothing to decide."""
    calls = waiting(conversation)
    if not toolbox.can_run(calls) or choice not in (ONCE, ALWAYS, NEVER):
        return None
    if choice == NEVER:
        return declined(calls)
    if choice == ALWAYS:
        toolbox.allow(conversation.id, calls)
    return await asyncio.to_thread(toolbox.run, calls)


def unasked(conversation: Conversation, toolbox: Toolbox) -> str | None:
    """What tools give that may run without being asked about; None where they may not."""
    calls = waiting(conversation)
    rounds = sum(bool(message.calls) for message in conversation.messages[-2 * ROUNDS_AT_MOST :])
    if not toolbox.may_run(conversation.id, calls) or rounds >= ROUNDS_AT_MOST:
        return None
    return toolbox.run(calls)
