"""Answers to be gone on with: the DeepSeek API's chat prefix completion."""

from collections.abc import Sequence

from mlx_deepseek.errors import PromptError
from mlx_deepseek.prompts.messages import Message
from mlx_deepseek.prompts.special_tokens import THINK_CLOSE, THINK_OPEN


def split(messages: Sequence[Message]) -> tuple[Sequence[Message], Message | None]:
    """The conversation, and the answer at its end that is marked with "prefix", if one is.

    Raises:
        PromptError: there is nothing before it.
    """
    last = messages[-1]
    if last["role"] != "assistant" or not last.get("prefix"):
        return messages, None
    if len(messages) == 1:
        raise PromptError("The answer to go on with is alone. Expected a user's message before it.")
    return messages[:-1], last


def opens_reasoning(prompt: str) -> bool:
    """Whether a prompt ends where reasoning begins."""
    return prompt.rstrip().endswith(THINK_OPEN)


def begin(answer: Message, prompt: str, opens_itself: bool) -> str:
    """What of an answer follows a generation prompt.

    `opens_itself`: the model writes the marker that begins its reasoning.
    """
    said, thought = answer["content"], answer.get("reasoning_content") or ""
    opened = opens_reasoning(prompt)
    if not opened and not (opens_itself and thought):
        return said
    airy = opens_itself or prompt.endswith("\n")  # R1's way; V3.1 and later leave no gaps
    opening = "" if opened else THINK_OPEN + "\n"
    if not said:
        return opening + thought
    return opening + thought + ("\n" + THINK_CLOSE + "\n\n" if airy else THINK_CLOSE) + said
