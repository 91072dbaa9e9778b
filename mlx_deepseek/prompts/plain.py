"""Formats without role tokens: base models, and the "User: / Assistant:" chats of LLM V1 to V2."""

from collections.abc import Sequence
from dataclasses import dataclass

from mlx_deepseek.errors import PromptError
from mlx_deepseek.prompts.format import PromptFormat
from mlx_deepseek.prompts.markers import BOS, EOS
from mlx_deepseek.prompts.messages import Message


@dataclass(frozen=True)
class Completion(PromptFormat):
    """A base model: BOS, then text to be continued."""

    @property
    def supports_chat(self) -> bool:
        """Base models know no turns."""
        return False


@dataclass(frozen=True)
class PlainChat(PromptFormat):
    """LLM V1, MoE, Math, V2, Coder-V2: `User: ...` and `Assistant: ...` with blank lines."""

    def turns(self, messages: Sequence[Message], thinking: bool, generate: bool) -> str:
        """BOS [system] User: ... Assistant: ..."""
        out = [BOS]
        for message in messages:
            match message["role"]:
                case "system":
                    out.append(message["content"] + "\n\n")
                case "user":
                    out.append(f"User: {message['content']}\n\n")
                case "assistant":
                    out.append(f"Assistant: {message['content']}{EOS}")
                case role:
                    raise PromptError(f"Prompt format {self.id!r} has no {role!r} messages.")
        return "".join(out) + ("Assistant:" if generate else "")
