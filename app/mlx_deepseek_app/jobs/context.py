"""What is sent of a conversation that does not fit the window, and how it goes on in another."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, pairwise
from typing import Any

Message = dict[str, Any]
STEP = 4  # turns that are forgotten at a time, so that not each answer reads all that is left anew
ANSWER_SHARE = 4  # of the window, at most a part of this size is kept free for the answer
SUMMARY_TOKENS = 512
ASK_SUMMARY = (
    "Summarize our conversation so far for somebody who goes on with it: what was asked, what was "
    "found or decided, what is open. Give facts, names and numbers; no introduction."
)
GOES_ON = "This conversation goes on from an earlier one. What was said there:"
MOST_QUESTIONS, QUESTION_CHARACTERS = 12, 200


def room(window: int, max_tokens: int) -> int:
    """Tokens that a prompt may have so that there is room for an answer."""
    return window - min(max_tokens, window // ANSWER_SHARE)


def fitted(
    messages: Sequence[Message], overflow: str, fits: Callable[[list[Message]], bool]
) -> tuple[list[Message], int]:
    """The messages without as few turns as possible, and how many are left out.

    A turn is a user's message with what followed it. The last one stays, and with `overflow`
    "middle" the first one too; with "stop" all do.
    """
    starts = [at for at, message in enumerate(messages) if message["role"] == "user"]
    turns = [messages[one:other] for one, other in pairwise([*starts, len(messages)])]
    kept = 1 if overflow == "middle" else 0
    most = len(turns) - 1 - kept
    if overflow == "stop" or most < 1 or fits(list(messages)):
        return list(messages), 0

    def without(forgotten: int) -> list[Message]:
        left = (messages[: starts[0]], *turns[:kept], *turns[kept + forgotten :])
        return list(chain.from_iterable(left))

    counts = [*range(STEP, most, STEP), most]
    enough = bisect_left(counts, True, key=lambda count: fits(without(count)))
    forgotten = counts[min(enough, len(counts) - 1)]
    return without(forgotten), forgotten


def summary(engine: Any, messages: Sequence[Message]) -> Iterable[Any]:
    """The engine's chunks for a summary of a conversation."""
    asked = [*messages, {"role": "user", "content": ASK_SUMMARY}]
    limit = room(engine.context_length, SUMMARY_TOKENS)
    options = {"thinking": False if engine.prompt_format.thinking == "optional" else None}
    sent, _ = fitted(asked, "middle", lambda some: engine.count_tokens(some, **options) <= limit)
    return engine.stream(sent, max_tokens=SUMMARY_TOKENS, **options)


def going_on(system: str, summary: str, questions: Sequence[str]) -> str:
    """A system prompt that knows of an earlier conversation, at least what was asked in it."""
    asked = [f"- {' '.join(text.split())[:QUESTION_CHARACTERS]}" for text in questions]
    said = summary.strip() or "\n".join(asked[-MOST_QUESTIONS:])
    return "\n\n".join([*filter(None, [system.partition(GOES_ON)[0].strip()]), GOES_ON, said])
