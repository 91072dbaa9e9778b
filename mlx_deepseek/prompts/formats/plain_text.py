"""Formats without role tokens: base models, and the "User: / Assistant:" chats of LLM V1 to V2."""

from collections.abc import Sequence
from dataclasses import dataclass

from mlx_deepseek.errors import PromptError
from mlx_deepseek.prompts.format import PromptFormat
from mlx_deepseek.prompts.messages import Message
from mlx_deepseek.prompts.special_tokens import BOS, EOS


@dataclass(frozen=True)
class TextCompletion(PromptFormat):
    """A base model: BOS, then text to be continued."""

    @property
    def supports_chat(self) -> bool:
        """Base models know no turns."""
        return False


@dataclass(frozen=True)
class PlainChat(PromptFormat):
    """LLM V1, MoE, Math, V2, Coder-V2: `User: ...` and `Assistant: ...` with blank lines."""

    user: str = "User"
    assistant: str = "Assistant"

    def turns(self, messages: Sequence[Message], thinking: bool, generate: bool) -> str:
        """BOS [system] User: ... Assistant: ..."""
        out = [BOS]
        for message in messages:
            match message["role"]:
                case "system":
                    out.append(message["content"] + "\n\n")
                case "user":
                    out.append(f"{self.user}: {message['content']}\n\n")
                case "assistant":
                    out.append(f"{self.assistant}: {message['content']}{EOS}")
                case role:
                    raise PromptError(f"Prompt format {self.id!r} has no {role!r} messages.")
        return "".join(out) + (f"{self.assistant}:" if generate else "")


STEP_BY_STEP = {
    "en": "\nPlease reason step by step, and put your final answer within \\boxed{}.",
    "zh": "\n请通过逐步推理来解答问题，并把最终答案放置于\\boxed{}中。",
}


def step_by_step(question: str, language: str = "en") -> str:
    """The question with DeepSeek's own request for a chain of thought; `language` en or zh."""
    return question + STEP_BY_STEP[language]
