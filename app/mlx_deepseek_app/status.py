"""Small pieces of HTML that tell the state: model chip, meter, load progress. All text escaped."""

from html import escape
from typing import Any

from mlx_deepseek_app.model import ModelFacts
from mlx_deepseek_app.session import Conversation
from mlx_deepseek_app.text import user_markdown

GIB = 2**30
PRIVATE = "Runs on this machine; nothing you write leaves it."
# page.js takes the link to the page of models
WELCOMES = {
    "nano": "A tiny DeepSeek-V3 that comes with this app. It does sums, sorting, counting and "
    "dates, and shows how it thinks; it knows nothing else."
    "\n\n[Get a model for conversation](#models)",
    "nano-ocr": "A tiny DeepSeek-OCR that comes with this app. It reads a few printed words: "
    "give it a picture under Pictures.\n\n[Get a model for documents](#models)",
}
STAGES = {"download": "Downloading", "convert": "Converting", "load": "Reading the weights"}


def chip(known: ModelFacts) -> str:
    """The model's name in the header."""
    name = escape(known.name.rsplit("/", 1)[-1])
    shown = f"<b>{name}</b>" if name else '<b class="app-note">no model</b>'
    window = f"<small>{known.window:,} tokens</small>" if known.window else ""
    title = escape(known.name or "Choose a model under Settings")
    return f'<div class="chip" title="{title}">{shown}{window}</div>'


def meter(conversation: Conversation, known: ModelFacts, note: str = "") -> str:
    """Speed, costs and context use of the last reply that says; `note` comes first."""
    parts = [f'<span class="note">{escape(note)}</span>'] if note else []
    usage = _last_usage(conversation)
    if usage is not None:
        used = usage.prompt_tokens + usage.completion_tokens
        parts.extend(f'<span class="cost">{escape(cost)}</span>' for cost in costs(usage))
        parts.append(_bar(used, known.window))
    elif known.window and not note:
        parts.append(_bar(0, known.window))
    return f'<div class="meter" role="status">{"".join(parts)}</div>'


def progress(source: str, state: tuple[Any, ...], elapsed_s: float) -> str:
    """A load under way: `state` is (stage, bytes done, bytes in total)."""
    stage, done, total = state or ("", 0, 0)
    words, amount = STAGES.get(stage, stage), ""
    if total >= GIB / 100:  # smaller ones are over before they can be read
        words += f", {total / GIB:.2f} GiB"
    if total > 0 and stage != "load":  # weights are read in one go
        amount = f" value='{done}' max='{total}'"
        words = words.replace(",", f" {done / GIB:.2f} of")
    bar = f"<progress aria-label='Loading'{amount}></progress>"
    text = escape(f"{words.strip() or 'Reading the model'} · {elapsed_s:.0f} s")
    return f'<div class="load"><b>Loading {escape(source)}</b>{bar}<span>{text}</span></div>'


def load_failed(source: str, error: str, kept: str) -> str:
    """A load that failed, and what is still there."""
    return (
        f'<div class="load failed" role="alert"><b>Could not load {escape(source)}</b>'
        f"<p>{escape(error)}</p>{_kept(kept)}</div>"
    )


def load_cancelled(source: str, kept: str) -> str:
    """A load that the user ended."""
    return f'<div class="load"><b>{escape(source)} was not loaded</b>{_kept(kept)}</div>'


def _kept(name: str) -> str:
    return f"<span>{escape(name)} is still loaded.</span>" if name else "<span>No model yet.</span>"


def loaded(known: ModelFacts) -> str:
    """A load that worked."""
    return f'<div class="load"><span>{escape(known.name)} is loaded.</span></div>'


def failed(text: str) -> str:
    """Something that went wrong, and what to do."""
    return f'<div class="load failed" role="alert"><p>{escape(text)}</p></div>'


def working(text: str, done: int, total: int) -> str:
    """Work under way; without a total there is no saying how far."""
    amount = f" value='{done}' max='{total}'" if total else ""
    bar = f"<progress aria-label='Progress'{amount}></progress>"
    return f'<div class="load" role="status"><span>{escape(text)}</span>{bar}</div>'


def said(text: str) -> str:
    """Something that went as it should."""
    return f'<div class="load" role="status"><span>{escape(text)}</span></div>'


def room(memory: str, disk: str) -> str:
    """What this machine can hold."""
    return (
        f'<p class="room">This machine: <b>{escape(memory)}</b> of memory for a model, '
        f"<b>{escape(disk)}</b> free on the disk. Sizes and contexts are estimates.</p>"
    )


def in_memory(name: str) -> str:
    """The model that is loaded, and a button that lets go of it."""
    if not name:
        return '<p class="room">No model is in memory.</p>'
    return (
        f'<p class="room">In memory: <b class="name">{escape(name)}</b> <button data-act="unload" '
        f'data-repo="" aria-label="Unload {escape(name)}">Unload</button></p>'
    )


def welcome(known: ModelFacts) -> str:
    """What the empty chat says, as Markdown."""
    if not known.name:
        return "## No model yet\n\nChoose one under Settings."
    title = f"## {user_markdown(known.name.rsplit('/', 1)[-1])}"
    return f"{title}\n\n{WELCOMES.get(known.name, PRIVATE)}"


def costs(usage: Any) -> list[str]:
    """What a reply took: its speed, its tokens, the wait for the first one, memory."""
    told = [f"{_rate(usage.generation_tps)} tokens/s"] if usage.generation_tps else []
    told.append(f"{usage.completion_tokens:,} new tokens")
    if usage.prompt_tps:
        first_s = (usage.prompt_tokens - usage.cached_tokens) / usage.prompt_tps
        told.append(f"first after {first_s:.2f} s")
    if usage.cached_tokens:
        told.append(f"{usage.cached_tokens:,} cached")
    if usage.peak_memory_bytes:
        told.append(f"{usage.peak_memory_bytes / GIB:.2f} GiB at most")
    return told


def _last_usage(conversation: Conversation) -> Any:
    return next((turn.usage for turn in reversed(conversation.turns) if turn.usage), None)


def _rate(per_s: float) -> str:
    return f"{per_s:.0f}" if per_s >= 10 else f"{per_s:.1f}"


def _bar(used: int, window: int) -> str:
    if not window:
        return f"<span>{used:,} tokens</span>"
    state = " full" if used > 0.9 * window else ""
    label = f"{used:,} of {window:,} tokens of context used"
    return (
        f'<span class="context{state}" title="{label}">'
        f'<progress value="{min(used, window)}" max="{window}" aria-label="{label}"></progress>'
        f"{used:,} / {window:,}</span>"
    )
