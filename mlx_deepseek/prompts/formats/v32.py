"""DeepSeek-V3.2 and Speciale (arXiv:2512.02556 §3.2.1): reasoning that lasts through tool calls.

The release brings an encoder instead of a template. Its "developer" role, for DeepSeek's own search
agents, is not here: as in every format, the word means system.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from mlx_deepseek.prompts import dsml
from mlx_deepseek.prompts.format import PromptFormat
from mlx_deepseek.prompts.messages import Message
from mlx_deepseek.prompts.special_tokens import ASSISTANT, BOS, EOS, THINK_CLOSE, THINK_OPEN, USER
from mlx_deepseek.prompts.tools import ToolMarkup

SCHEMA_INSTRUCTION = (
    "## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n{schema}"
)
# The encoder knows schemas only; this one says "any JSON object".
JSON_INSTRUCTION = SCHEMA_INSTRUCTION.replace("{schema}", '{"type": "object"}')


@dataclass(frozen=True)
class V32Chat(PromptFormat):
    """Every <Assistant>, and every group of results, is followed by <think> or </think>.

    With `thinking`, what comes after the last user message keeps its reasoning, so that it goes on
    from call to call; answers before that message have none.
    """

    tools: ToolMarkup | None = dsml.MARKUP
    thinking: str = "optional"
    json_instruction: str = JSON_INSTRUCTION
    schema_instruction: str = SCHEMA_INSTRUCTION
    blank_system: bool = True

    def turns(self, messages: Sequence[Message], thinking: bool, generate: bool) -> str:
        """Results have no role token; the model goes on right after them."""
        users = [number for number, m in enumerate(messages) if m["role"] == "user"]
        since = users[-1] if users else -1  # reasoning counts from here on
        out = [BOS]
        for role, group in groupby(enumerate(messages), key=lambda pair: pair[1]["role"]):
            numbers, same = zip(*group, strict=True)
            thinks = [thinking and number >= since for number in numbers]
            if role == "tool":
                out += [dsml.MARKUP.outputs([m["content"] for m in same]), _opening(thinks[-1])]
            else:
                for message, thought in zip(same, thinks, strict=True):
                    out += _turn(message, thought)
        waits = messages[-1]["role"] in ("user", "tool")
        if waits and not generate:
            out.pop()
        elif generate and not waits:
            out.append(ASSISTANT + _opening(thinking))
        return "".join(out)


def _opening(thinks: bool) -> str:
    return THINK_OPEN if thinks else THINK_CLOSE


def _turn(message: Message, thinks: bool) -> Iterator[str]:
    """A message's text; a user's with the beginning of the answer apart."""
    content = message["content"]
    if message["role"] == "system":
        yield content
    elif message["role"] == "user":
        yield USER + content
        yield ASSISTANT + _opening(thinks)
    else:
        before, closed, after = content.partition(THINK_CLOSE)
        if thinks:
            told = before.removeprefix(THINK_OPEN) if closed else ""
            yield (message.get("reasoning_content") or told) + THINK_CLOSE
        calls = message.get("tool_calls")
        yield (after if closed else content) + (dsml.MARKUP.calls(calls) if calls else "") + EOS
