"""Titles that the model writes for conversations, when it has nothing else to do."""

import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from mlx_deepseek.generation.sampling import Sampling
from mlx_deepseek_app.conversation.conversation import Conversation
from mlx_deepseek_app.jobs import model_info
from mlx_deepseek_app.jobs.model_service import ModelService, stopping
from mlx_deepseek_app.jobs.queue import Job
from mlx_deepseek_app.storage.conversations import Conversations
from mlx_deepseek_app.storage.database import StoreError
from mlx_deepseek_app.storage.options import TITLES, Options
from mlx_deepseek_app.storage.store import Store

TOKENS, EXCERPT_CHARACTERS, WORDS_AT_MOST = 24, 1200, 12
TURNS = 6  # messages; a title that was not written by then never is
ASK = (
    "Write a title for the conversation below: three to six words, in its language. "
    "Give the title only, without quotation marks.\n\n"
)


def entitle(service: ModelService, store: Store, owner: str, conversation: Conversation) -> None:
    """Have a title written where nobody gave one, when nothing else is asked of the model.

    That is for a conversation that has just begun, and whose last reply is complete.
    """
    mine, messages = Conversations(store, owner), conversation.messages
    begun = 0 < len(messages) <= TURNS and messages[-1].state == "done"
    if not begun or not model_info.facts(service.engine).titles:
        return
    with suppress(StoreError):  # then it keeps its first words
        if Options(store, owner).on(TITLES) and mine.untitled(conversation):
            ask(service, owner, conversation, partial(mine.entitle, conversation.id))


def ask(
    service: ModelService, owner: str, conversation: Conversation, give: Callable[[str], None]
) -> Job:
    """Have a title written and given; a question of anybody ends that."""
    said = "\n\n".join(
        f"{'User' if one.role == 'user' else 'Assistant'}: {one.text.strip()[:EXCERPT_CHARACTERS]}"
        for one in conversation.messages[:2]
    )
    wanted = [{"role": "user", "content": ASK + said}]

    def work(engine: Any, job: Job) -> None:
        known = model_info.facts(engine)
        if not known.titles:  # another model came meanwhile
            return
        thinking = False if known.can_think else None
        chunks = engine.stream(
            wanted, max_tokens=TOKENS, thinking=thinking, sampling=Sampling(temperature=0.0)
        )
        text = "".join(chunk.text or "" for chunk in stopping(job, chunks))
        title = as_title(text)
        if title and not job.cancelled:
            give(title)

    return service.ask(owner, work, idle=True)


def as_title(text: str) -> str:
    """What a model wrote as a title; "" if that is none."""
    lines = [line.strip() for line in text.strip().splitlines()]
    line = re.sub(r"^(title|标题)\s*[:：]\s*", "", lines[0] if lines else "", flags=re.IGNORECASE)
    line = line.strip(" \t*#_`\"'“”‘’«»「」『』《》").rstrip(".。:：")
    return line if len(line.split()) <= WORDS_AT_MOST else ""
