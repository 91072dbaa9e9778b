"""DeepSeek-R1's own prompt pieces (arXiv:2501.12948): files in a question, R1-Zero's template."""

from collections.abc import Sequence
from dataclasses import dataclass

from mlx_deepseek.errors import PromptError
from mlx_deepseek.prompts.format import PromptFormat
from mlx_deepseek.prompts.messages import Message
from mlx_deepseek.prompts.special_tokens import BOS

ZERO = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant "
    "solves it. The assistant first thinks about the reasoning process in the mind and then "
    "provides the user with the answer. The reasoning process and answer are enclosed within "
    "<think> </think> and <answer> </answer> tags, respectively, i.e., <think> reasoning process "
    "here </think> <answer> answer here </answer>. "
)


def with_file(name: str, content: str, question: str) -> str:
    """A user message about a file, in the layout DeepSeek's own app uses."""
    return f"[file name]: {name}\n[file content begin]\n{content}\n[file content end]\n{question}"


@dataclass(frozen=True)
class R1Zero(PromptFormat):
    """R1-Zero was trained on one question at a time, in words instead of role tokens."""

    thinking: str = "model"

    def turns(self, messages: Sequence[Message], thinking: bool, generate: bool) -> str:
        """The paper's table 1."""
        if [m["role"] for m in messages] != ["user"]:
            raise PromptError("R1-Zero's template takes exactly one user message.")
        return f"{BOS}{ZERO}User: {messages[0]['content']}. Assistant:"
