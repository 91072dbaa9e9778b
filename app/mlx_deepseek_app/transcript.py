"""A conversation as the chat component shows it: a row for each part of a turn."""

from typing import Any

from mlx_deepseek.prompts.tools import ToolCall
from mlx_deepseek_app.attachments import thumbnail
from mlx_deepseek_app.session import Conversation
from mlx_deepseek_app.structure import card
from mlx_deepseek_app.text import model_markdown, user_markdown
from mlx_deepseek_app.turns import Turn


def rows(conversation: Conversation) -> tuple[list[dict[str, Any]], list[int]]:
    """The chat component's messages, and for each the index of the turn that it shows."""
    shown: list[dict[str, Any]] = []
    owners: list[int] = []
    calls: tuple[ToolCall, ...] = ()
    for index, turn in enumerate(conversation.turns):
        parts = _asked(turn, calls) if turn.role == "user" else _reply(turn)
        calls = turn.calls
        shown.extend(parts)
        owners.extend([index] * len(parts))
    if calls and not conversation.turns[-1].running:
        shown.append(_row("assistant", _note("Write what the tool gives as your next message.")))
        owners.append(len(conversation.turns) - 1)
    if conversation.turns and conversation.turns[-1].unfinished:
        shown[-1]["options"] = [{"value": "continue", "label": "Continue"}]
    return shown, owners


def _asked(turn: Turn, calls: tuple[ToolCall, ...]) -> list[dict[str, Any]]:
    title = {"title": f"Result of {', '.join(call.name for call in calls)}"} if calls else None
    pictures = "".join(map(thumbnail, turn.pictures))
    gap = "\n\n" if pictures and turn.text else ""
    return [_row("user", pictures + gap + user_markdown(turn.text), title)]


def _reply(turn: Turn) -> list[dict[str, Any]]:
    parts = []
    if turn.reasoning.strip():
        thinking = turn.running and not turn.text.strip()
        metadata = {"title": thought(turn, thinking), "status": "pending" if thinking else "done"}
        parts.append(_row("assistant", model_markdown(turn.reasoning.strip()), metadata))
    if turn.text.strip():
        parts.append(_row("assistant", model_markdown(turn.text.strip())))
    for call in turn.calls:
        parts.append(_row("assistant", card(call), {"title": f"Calls {call.name}"}))
    if turn.state == "error":
        parts.append(_row("assistant", _error(turn.error)))
    elif turn.state == "length":
        parts.append(_row("assistant", _note("Cut off: the limit of new tokens was reached.")))
    elif turn.state in ("stopped", "cut"):
        note = "Stopped." if turn.state == "stopped" else "Cut off: the app ended here."
        parts.append(_row("assistant", _note(note)))
    elif turn.state == "done" and not parts:
        parts.append(_row("assistant", _note("The model answered with nothing.")))
    return parts


def thought(turn: Turn, thinking: bool) -> str:
    """What stands over a reply's thinking: its seconds and tokens, live too."""
    told = "Thinking" if thinking else "Thought"
    parts = [told if turn.thinking_s is None else f"{told} for {turn.thinking_s:.1f} s"]
    if count := getattr(turn.usage, "reasoning_tokens", 0):
        parts.append(f"{count:,} tokens")
    return " · ".join(parts)


# HTML, so that a model cannot write it: `words.js` translates these and nothing else in a message
def _note(text: str) -> str:
    return f'<em class="app-note">{text}</em>'


def _error(text: str) -> str:
    said = (f'<span class="app-note">{part}</span>' for part in ("No answer.", user_markdown(text)))
    return "⚠️ **{}** {}".format(*said)


def _row(role: str, markdown: str, metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    content = [{"type": "text", "text": markdown}]
    return {"role": role, "content": content, "metadata": metadata or {}}
