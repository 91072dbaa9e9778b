"""Role tokens with calls in a JSON fence: V2-Chat-0628, V2.5, V3, R1, R1-0528 and the distills."""

from collections.abc import Sequence
from dataclasses import dataclass

from mlx_deepseek.errors import PromptError
from mlx_deepseek.prompts.format import Message, PromptFormat
from mlx_deepseek.prompts.markers import ASSISTANT, BOS, EOS, THINK_CLOSE, USER
from mlx_deepseek.prompts.tools import FENCED, ToolMarkup


@dataclass(frozen=True)
class RoleChat(PromptFormat):
    """BOS system <User> ... <Assistant> ... EOS.

    `after_system` follows the system prompt and `generation` the last <Assistant>;
    `drops_reasoning`: earlier answers are sent without what precedes </think>.
    """

    tools: ToolMarkup | None = FENCED
    after_system: str = ""
    generation: str = ""
    drops_reasoning: bool = False

    def turns(self, messages: Sequence[Message], thinking: bool, generate: bool) -> str:
        """Results of one round of calls form a group; the answer to them has no role token."""
        systems = [m["content"] for m in messages if m["role"] == "system"]
        out = [BOS, "\n\n".join(systems) + self.after_system if systems else ""]
        results: list[str] = []
        for message in messages:
            role, content = message["role"], message["content"]
            if role == "tool":
                results.append(content)
            elif role == "user":
                out.append(self._outputs(results) + USER + content)
                results = []
            elif role == "assistant":
                out.append(self._outputs(results) if results else ASSISTANT)
                out.append(self._answer(message) + EOS)
                results = []
        if results:
            out.append(self._outputs(results))
        elif generate:
            out.append(ASSISTANT + self.generation)
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
