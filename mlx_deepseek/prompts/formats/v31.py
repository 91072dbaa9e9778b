"""DeepSeek-V3.1 to V3.2-Exp, and Math-V2: thinking and non-thinking in one model, bare tool calls.

Without `thinking`, answers and calls follow a closed </think>; results have no role token, and the
model goes on right after them. The model card defines calls for this mode only. With `thinking`
they may come inside the reasoning, as in its search-agent trajectories; the exact text of those
(they are HTML assets of the repository) was not available to check against. Math-V2 was trained
from V3.2-Exp's base model, and its scripts expect reasoning in every answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mlx_deepseek.prompts.format import PromptFormat
from mlx_deepseek.prompts.messages import Message
from mlx_deepseek.prompts.special_tokens import ASSISTANT, BOS, EOS, THINK_CLOSE, THINK_OPEN, USER
from mlx_deepseek.prompts.tools import BARE, ToolMarkup


@dataclass(frozen=True)
class V31Chat(PromptFormat):
    """<Assistant></think> answers at once, <Assistant><think> reasons first."""

    tools: ToolMarkup | None = BARE
    thinking: str = "optional"

    def turns(self, messages: Sequence[Message], thinking: bool, generate: bool) -> str:
        """Earlier answers always follow </think>; results of calls stand alone."""
        opening = THINK_OPEN if thinking else THINK_CLOSE
        out = [BOS, "\n\n".join(m["content"] for m in messages if m["role"] == "system")]
        previous = "system"
        for message in messages:
            role, content = message["role"], message["content"]
            if role == "user":
                out.append(USER + content)
            elif role == "tool":
                out.append(BARE.outputs([content]))
            elif role == "assistant":
                if previous != "tool":
                    out.append(ASSISTANT + THINK_CLOSE if previous in ("user", "system") else "")
                    content = content.split(THINK_CLOSE, 1)[-1]
                calls = message.get("tool_calls")
                out.append(content + (BARE.calls(calls) if calls else "") + EOS)
            previous = role
        if generate and previous != "tool":
            out.append(ASSISTANT + opening)
        return "".join(out)
