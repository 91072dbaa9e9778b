"""DeepSeek-Coder V1 (arXiv:2401.14196): instructions, and several files in one prompt."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mlx_deepseek.errors import PromptError
from mlx_deepseek.prompts.format import PromptFormat
from mlx_deepseek.prompts.messages import Message
from mlx_deepseek.prompts.special_tokens import BOS, EOT

SYSTEM = (
    "You are an AI programming assistant, utilizing the Deepseek Coder model, developed by "
    "Deepseek Company, and you only answer questions related to computer science. For politically "
    "sensitive questions, security and privacy issues, and other non-computer science questions, "
    "you will refuse to answer\n"
)


@dataclass(frozen=True)
class CoderInstruct(PromptFormat):
    """`### Instruction:` and `### Response:`, each answer ended by <|EOT|>."""

    def turns(self, messages: Sequence[Message], thinking: bool, generate: bool) -> str:
        """BOS system, then turns; the default system text where there is none."""
        out = [BOS]
        if not any(message["role"] == "system" for message in messages):
            out.append(SYSTEM)
        for message in messages:
            match message["role"]:
                case "system":
                    out.append(message["content"])
                case "user":
                    out.append(f"### Instruction:\n{message['content']}\n")
                case "assistant":
                    out.append(f"### Response:\n{message['content']}\n{EOT}\n")
                case role:
                    raise PromptError(f"Prompt format {self.id!r} has no {role!r} messages.")
        return "".join(out) + ("### Response:\n" if generate else "")


def repository(files: Iterable[tuple[str, str]]) -> str:
    """Several files (path, content) in dependency order, as repository-level completion wants.

    The last one may end in the middle: the model continues it.
    """
    return BOS + listing(files)


def listing(files: Iterable[tuple[str, str]]) -> str:
    """The files alone, each behind its path; blank lines as in the README of DeepSeek-Coder."""
    return "\n\n".join(f"#{path}\n{content}" for path, content in files)
