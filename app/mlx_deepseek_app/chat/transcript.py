"""A conversation as the chat component shows it: a row for each part of a message."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from mlx_deepseek.generation.job import Activity
from mlx_deepseek.prompts.tools import ToolCall
from mlx_deepseek_app.chat.attachments import attached_html
from mlx_deepseek_app.conversation.conversation import Conversation
from mlx_deepseek_app.conversation.messages import Message, Queued
from mlx_deepseek_app.conversation.when import clock, moment
from mlx_deepseek_app.widgets.markdown import code_html, escaped, model_html, user_html
from mlx_deepseek_app.widgets.status import costs, duration

MESSAGES = 20  # that are drawn; those before them on demand
CONTINUE, GO_ON = "Continue", "Go on in a new chat"
WAITING_FORM = (
    '<p class="waiting" role="status"><span class="app-note">{}</span>'
    '<span class="dots"><b></b><b></b><b></b></span></p>'
)
WAITING = WAITING_FORM.format("Reading the prompt")


CARET = '<span class="caret"></span>'
EARLIER = '<p><button class="app-note earlier">Show {} earlier messages</button></p>'


def card(call: ToolCall) -> str:
    """HTML of a call's arguments, one to a line."""
    try:
        text = json.dumps(json.loads(call.arguments), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        text = call.arguments
    return code_html(text, "json")


def reading_html(activity: Activity | None) -> str:
    """How much of a prompt is read, and how long the rest may take."""
    if activity is None or activity.state != "reading" or not activity.read_tokens:
        return WAITING
    share = activity.read_tokens / activity.prompt_tokens
    words = f"Reading {activity.prompt_tokens:,} tokens, {share:.0%}"
    new = activity.read_tokens - activity.cached_tokens
    if new > 0:
        left_s = (activity.prompt_tokens - activity.read_tokens) * activity.seconds / new
        words += f" · {duration(left_s)} left"
    return WAITING_FORM.format(words)


def message_tools(conversation: Conversation, first: int = 0) -> str:
    """JSON for the page's script: each message's id, version, how many there are, time and text.

    Replies come with their text once there is no other being made. It begins at the turn `first`;
    nothing is known of the row that stands for those before it.
    """
    shown = conversation.messages
    busy = bool(shown) and shown[-1].running
    tools: list[dict[str, Any]] = [{}] if first else []
    for index, message in enumerate(shown[first:], first):
        user = message.role == "user"
        tools.append({"id": message.id, "user": user, "version": conversation.version(index)})
        if message.written_s:
            tools[-1]["time"] = clock(message.written_s), moment(message.written_s)
        if (user or not busy) and message.text.strip():
            tools[-1]["text"] = message.text if user else message.text.strip()
        if not user and not busy:
            tools[-1]["again"] = index + 1 < len(shown)  # gradio's own button answers the last
            tools[-1]["costs"] = costs(message.usage) if message.usage else []
    told = {"conversation": conversation.id, "messages": tools}
    return json.dumps(told).replace("<", "\\u003c")  # gradio warns of tags in what it carries


def rows(
    conversation: Conversation,
    first: int = 0,
    reading: str = WAITING,
    full: bool = False,
    choices: Sequence[dict[str, Any]] = (),
) -> tuple[list[dict[str, Any]], list[int]]:
    """The chat component's messages, and for each the index of the turn that it shows.

    It begins at the turn `first`, a question. `reading` stands where there is no word yet; where
    the context is `full` a new conversation is offered. `choices` are what can be said to calls of
    tools that wait.
    """
    shown: list[dict[str, Any]] = []
    owners: list[int] = []
    calls: tuple[ToolCall, ...] = conversation.messages[first - 1].calls if first else ()
    if first:
        shown.append(_row("assistant", EARLIER.format(min(first, MESSAGES))))
        owners.append(first)
    for index, message in enumerate(conversation.messages[first:], first):
        is_last = index + 1 == len(conversation.messages)
        parts = (
            _asked(message, calls) if message.role == "user" else _reply(message, reading, is_last)
        )
        calls = message.calls
        shown.extend(parts)
        owners.extend([index] * len(parts))
    if calls and not conversation.messages[-1].running:
        asked = "May this be run?" if choices else "Write what the tool gives as your next message."
        shown.append(_row("assistant", _note(asked)) | {"options": list(choices)})
        owners.append(len(conversation.messages) - 1)
    last = conversation.messages[-1] if conversation.messages else None
    if last is not None and not last.running:
        offered = {CONTINUE: last.unfinished, GO_ON: full}
        if options := [{"value": words, "label": words} for words, fits in offered.items() if fits]:
            shown[-1]["options"] = options
    return shown, owners


def queued_html(messages: Iterable[Queued]) -> str:
    """Messages that wait for the reply before them, each with a button that takes it back."""
    lines = "".join(
        f'<li><span class="app-note">Queued</span><span>{escaped(one.text)}</span>'
        f'<button type="button" data-key="{one.id}" aria-label="Take this message back" '
        'title="Take this message back">×</button></li>'
        for one in messages
    )
    return f"<ul>{lines}</ul>" if lines else ""


def message_index(
    conversation: Conversation, row: int | list[int] | tuple[int, ...], first: int = 0
) -> int:
    """The turn that a message of the chat component belongs to."""
    row = row if isinstance(row, int) else row[0]
    owners = rows(conversation, first)[1]
    return owners[min(max(row, 0), len(owners) - 1)]


def _asked(message: Message, calls: tuple[ToolCall, ...]) -> list[dict[str, Any]]:
    title = {"title": f"Result of {', '.join(call.name for call in calls)}"} if calls else None
    parts = (attached_html(message.attached), user_html(message.text))
    return [_row("user", "\n\n".join(filter(None, parts)), title)]


def _reply(message: Message, reading: str, is_last: bool) -> list[dict[str, Any]]:
    parts = []
    if message.reasoning.strip():
        thinking = message.running and not message.text.strip()
        metadata = {
            "title": thought(message, thinking),
            "status": "pending" if thinking else "done",
        }
        parts.append(_row("assistant", model_html(message.reasoning.strip(), thinking), metadata))
    if message.pictures:
        parts.append(
            _row("assistant", f'<div class="drawn">{attached_html(message.pictures)}</div>')
        )
    if message.text.strip():
        parts.append(_row("assistant", _written(message)))
    for call in message.calls:
        parts.append(_row("assistant", card(call), {"title": f"Calls {call.name}"}))
    if message.running and not parts:
        parts.append(_row("assistant", reading))
    if message.state == "error":
        parts.append(_row("assistant", _error(message.error)))
    elif message.state == "length":
        parts.append(_row("assistant", _note("Cut off: the limit of new tokens was reached.")))
    elif message.state in ("stopped", "cut") and (is_last or not parts):  # it can be gone on with
        note = "Stopped." if message.state == "stopped" else "Cut off: the app ended here."
        parts.append(_row("assistant", _note(note)))
    elif message.state == "done" and not parts:
        parts.append(_row("assistant", _note("The model answered with nothing.")))
    return parts


def _written(message: Message) -> str:
    """A reply's text; while it is written, with a mark at its end."""
    html = model_html(message.text.strip(), message.running)
    if message.running and html.endswith("</p>"):
        return f"{html.removesuffix('</p>')}{CARET}</p>"
    return html


def thought(message: Message, thinking: bool) -> str:
    """What stands over a reply's thinking: its seconds and tokens, live too."""
    told = "Thinking" if thinking else "Thought"
    parts = [told if message.thinking_s is None else f"{told} for {message.thinking_s:.1f} s"]
    if count := getattr(message.usage, "reasoning_tokens", 0):
        parts.append(f"{count:,} tokens")
    return " · ".join(parts)


# `words.js` translates these and nothing else in a message
def _note(text: str) -> str:
    return f'<p class="app-note">{text}</p>'


def _error(text: str) -> str:
    return (
        '<div class="app-error" role="alert"><b class="app-note">No answer.</b> '
        f'<span class="app-note">{escaped(text)}</span></div>'
    )


def _row(role: str, html: str, metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    content = [{"type": "text", "text": html}]
    return {"role": role, "content": content, "metadata": metadata or {}}
