"""Small pieces of HTML that tell the state: meter, load progress, notes. All text escaped."""

from dataclasses import dataclass
from html import escape
from typing import Any

from mlx_deepseek_app.conversation.conversation import Conversation
from mlx_deepseek_app.conversation.settings import PanelSettings
from mlx_deepseek_app.jobs import context
from mlx_deepseek_app.jobs.model_info import ModelFacts


def alert(text: str) -> str:
    """A message that readers of the screen hear at once."""
    return f'<p role="alert">{escape(text)}</p>' if text else ""


GB, GIB = 10**9, 2**30
WHEN_FULL = {
    "oldest": "the oldest turns will be forgotten",
    "middle": "turns in the middle will be forgotten",
    "stop": "go on in a new chat",
}
STAGES = {"download": "Downloading", "convert": "Converting", "load": "Reading the weights"}


@dataclass(frozen=True)
class Progress:
    """A load under way: its stage, bytes done and in total, seconds so far, bytes in a second."""

    stage: str
    done: int
    total: int
    elapsed_s: float
    per_s: float = 0.0

    def words(self) -> list[str]:
        """What is going on, how much of it is done, how fast, and how long it will take."""
        told = [STAGES.get(self.stage, self.stage) or "Reading the model"]
        if self.stage == "load" or self.total <= 0:
            sized = [f"{self.total / GB:.1f} GB"] if self.total >= GB / 10 else []
            return [*told, *sized, f"{self.elapsed_s:.0f} s"]
        told.append(f"{self.done / GB:.2f} of {self.total / GB:.2f} GB")
        if self.per_s:
            told.append(f"{self.per_s / 1e6:,.0f} MB/s")
            told.append(f"{duration((self.total - self.done) / self.per_s)} left")
        return told


def duration(seconds: float) -> str:
    """40 s, 12 min, 3 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def meter(conversation: Conversation, known: ModelFacts, note: str = "") -> str:
    """A ring of the context in use, with what the last reply took; `note` stands below the box."""
    usage = _last_usage(conversation)
    used = usage.prompt_tokens + usage.completion_tokens if usage else 0
    told = f'<p class="note" role="status">{escape(note)}</p>' if note else ""
    if not known.window:
        return f'<div class="meter">{told}</div>'
    listed = "".join(f"<li>{escape(cost)}</li>" for cost in (costs(usage) if usage else []))
    label = f"{used:,} of {known.window:,} tokens of context used"
    state = " full" if used > 0.9 * known.window else ""
    return (
        f'<div class="meter{state}">{told}'
        f'<button type="button" class="ring" aria-label="{label}" style="--used:'
        f'{min(used / known.window, 1):.3f}"></button><div class="costs" role="tooltip">'
        f"<b>{used:,} / {known.window:,} tokens of context</b><ul>{listed}</ul></div></div>"
    )


def nearly_full(conversation: Conversation, known: ModelFacts, settings: PanelSettings) -> str:
    """What will happen with the next message, where there may be no room for it; "" if there is."""
    usage = _last_usage(conversation)
    used = 0 if usage is None else usage.prompt_tokens + usage.completion_tokens
    limit = context.room(known.window, settings.max_tokens or known.max_tokens)
    failed = bool(conversation.messages) and "context window" in conversation.messages[-1].error
    if not known.window or (used <= limit and not failed):
        return ""
    return f"The context is nearly full: {WHEN_FULL[settings.overflow]}"


def forgotten(turns: int, settings: PanelSettings) -> str:
    """That an answer did without some turns."""
    which = "oldest" if settings.overflow == "oldest" else "middle"
    return f"Without the {turns:,} {which} turns, which no longer fit" if turns else ""


def progress(name: str, far: Progress, repo: str = "", *, acts: bool = True) -> str:
    """How far a load is; with `acts` the model `repo` can be paused, and any cancelled."""
    known = far.total > 0 and far.stage != "load"  # weights are read in one go
    amount = f" value='{far.done}' max='{far.total}'" if known else ""
    pause = '<button type="button" data-act="pause" aria-label="Pause loading">Pause</button>'
    end = (
        f'<button type="button" data-act="{"drop" if repo else "pause"}" '
        'aria-label="Cancel loading">Cancel</button>'
    )
    buttons = f'<div class="acts">{pause if repo else ""}{end}</div>' if acts else ""
    return (
        f'<div class="load" data-repo="{escape(repo)}"><b class="name">{escape(name)}</b>'
        f"<progress aria-label='Loading'{amount}></progress>"
        f"<span>{escape(' · '.join(far.words()))}</span>{buttons}</div>"
    )


def load_failed(source: str, error: str, kept: str) -> str:
    """A load that failed, and what is still there."""
    return (
        f'<div class="load failed" role="alert"><b>Could not load {escape(source)}</b>'
        f"<p>{escape(error)}</p>{_kept(kept)}"
        '<div class="acts"><button type="button" data-act="close">Close</button></div></div>'
    )


def _kept(name: str) -> str:
    return f"<span>{escape(name)} is still loaded.</span>" if name else "<span>No model yet.</span>"


def failed(text: str) -> str:
    """Something that went wrong, and what to do."""
    return f'<div class="load failed" role="alert"><p>{escape(text)}</p></div>'


def working(text: str, done: int = 0, total: int = 0) -> str:
    """Work under way; without a total there is no saying how far."""
    amount = f" value='{done}' max='{total}'" if total else ""
    bar = f"<progress aria-label='Progress'{amount}></progress>"
    return f'<div class="load" role="status"><span>{escape(text)}</span>{bar}</div>'


def said(text: str) -> str:
    """Something that went as it should."""
    return f'<div class="load" role="status"><span>{escape(text)}</span></div>'


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
    if usage.expert_hit_rate is not None:
        told.append(f"{usage.expert_hit_rate:.0%} of experts found in memory")
        told.append(f"{usage.disk_bytes_per_token / GIB:.2f} GiB read per token")
        told.append(f"{usage.waiting_share:.0%} of the time waiting for the disk")
    return told


def _last_usage(conversation: Conversation) -> Any:
    return next(
        (message.usage for message in reversed(conversation.messages) if message.usage), None
    )


def _rate(per_s: float) -> str:
    return f"{per_s:.0f}" if per_s >= 10 else f"{per_s:.1f}"
