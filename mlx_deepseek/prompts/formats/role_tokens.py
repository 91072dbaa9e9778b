"""Role tokens with calls in a JSON fence: V2-Chat-0628, V2.5, V3, R1, R1-0528 and the distills."""

from collections.abc import Sequence
from dataclasses import dataclass

from mlx_deepseek.errors import PromptError
from mlx_deepseek.prompts.format import PromptFormat
from mlx_deepseek.prompts.messages import Message
from mlx_deepseek.prompts.special_tokens import ASSISTANT, BOS, EOS, THINK_CLOSE, USER
from mlx_deepseek.prompts.tools import FENCED, ToolMarkup


@dataclass(frozen=True)
class RoleChat(PromptFormat):
    """BOS system <User> ... <Assistant> ... EOS.

    `after_system` follows the system prompt and `generation` the last <Assistant>;
    `drops_reasoning`: earlier answers are sent without what precedes </think>; `user_ends_turn`:
    every user message is followed by <Assistant>, answered or not.
    """

    tools: ToolMarkup | None = FENCED
    after_system: str = ""
    generation: str = ""
    drops_reasoning: bool = False
    user_ends_turn: bool = False

    def turns(self, messages: Sequence[Message], thinking: bool, generate: bool) -> str:
        """Results of one round of calls form a group; the answer to them has no role token."""
        systems = [m["content"] for m in messages if m["role"] == "system"]
        out = [BOS, "\n\n".join(systems) + self.after_system if systems else ""]
        results: list[str] = []
        begun = False  # <Assistant> is written and nothing after it
        for message in messages:
            role, content = message["role"], message["content"]
            if role == "tool":
                results.append(content)
            elif role == "user":
                out.append(self._outputs(results) + USER + content)
                out.append(ASSISTANT if self.user_ends_turn else "")
                results, begun = [], self.user_ends_turn
            elif role == "assistant":
                opening = "" if self.user_ends_turn else ASSISTANT
                out.append(self._outputs(results) if results else opening)
                out.append(self._answer(message) + EOS)
                results, begun = [], False
        if results:
            out.append(self._outputs(results))
        elif generate:
            out.append(self.generation if begun else ASSISTANT + self.generation)
        return "".join(out)

    def _answer(self, message: Message) -> str:
        content = message["content"]
        if self.drops_reasoning:
            content = content.split(THINK_CLOSE)[-1]
        calls = message.get("tool_calls")
        return content + self._markup().calls(calls) if calls else content

    def _outputs(self, results: Sequence[str]) -> str:
        return self._markup().outputs(results) if results else ""

    def _markup(self) -> ToolMarkup:
        if self.tools is None:
            raise PromptError(f"Prompt format {self.id!r} has no tool calls.")
        return self.tools
