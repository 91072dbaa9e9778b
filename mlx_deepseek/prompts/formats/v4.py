"""DeepSeek-V4, its dated releases and V4.1: results are a user's words, effort is asked for.

The releases bring an encoder instead of a template, and this follows it. DeepSeek's own API renders
V4 a little differently (it keeps the reasoning of tool rounds without thinking, too, for example);
what ships with the weights is the safer guess at what they were trained on.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from mlx_deepseek.errors import PromptError
from mlx_deepseek.prompts.dsml import DsmlMarkup, schemas
from mlx_deepseek.prompts.format import PromptFormat
from mlx_deepseek.prompts.formats.v32 import SCHEMA_INSTRUCTION
from mlx_deepseek.prompts.messages import Message
from mlx_deepseek.prompts.special_tokens import (
    ASSISTANT,
    BOS,
    DSML,
    EOS,
    REMINDER,
    SYSTEM,
    THINK_CLOSE,
    THINK_OPEN,
    USER,
)
from mlx_deepseek.prompts.tools import Tool, ToolMarkup

SPEAKERS = ("user", "developer", "tool")
# What stands for a picture in V4's vision release, and in V4.1; tokenizers spell it either way.
IMAGES = ("<｜deepseek_image｜>", "<｜image｜>")
# Side tasks of DeepSeek's chat product, each with a token of its own.
TASKS = ("action", "query", "authority", "domain", "title", "read_url")
JSON_INSTRUCTION = SCHEMA_INSTRUCTION.replace("{schema}", '{"type": "object"}')


@dataclass(frozen=True)
class V4Markup(DsmlMarkup):
    """V3.2's with other words around it."""

    opens: ClassVar[tuple[str, ...]] = (f"\n\n<{DSML}tool_calls>", f"<{DSML}tool_calls>")
    closes: ClassVar[str] = f"</{DSML}tool_calls>"

    def describe(self, tools: Sequence[Tool]) -> str:
        """The tools as V4's encoder puts them into the system prompt."""
        return self._example(INTRODUCTION).replace("{schemas}", schemas(tools))

    def outputs(self, results: Sequence[str]) -> str:
        """Results of the calls before them, in the calls' order."""
        return "\n\n".join(f"<tool_result>{result}</tool_result>" for result in results)


@dataclass(frozen=True)
class V41Markup(V4Markup):
    """V4's with a blank in every tag."""

    opens: ClassVar[tuple[str, ...]] = (f"\n\n<{DSML} calls>", f"<{DSML} calls>")
    closes: ClassVar[str] = f"</{DSML} calls>"
    call_opens: ClassVar[str] = f"<{DSML} invoke"
    call_closes: ClassVar[str] = f"</{DSML} invoke>"
    parameter_opens: ClassVar[str] = f"<{DSML} parameter"
    parameter_closes: ClassVar[str] = f"</{DSML} parameter>"


@dataclass(frozen=True)
class V4Chat(PromptFormat):
    """Turns of a user and an assistant; with tools, reasoning stays for the whole conversation.

    Without tools it is dropped before the last user's turn. `system` is a token before system
    messages (V4.1). A "developer" speaks as a user, with tools of his own; a last message with a
    "task" of TASKS asks for a product's side task instead of an answer.
    """

    tools: ToolMarkup | None = V4Markup()
    thinking: str = "optional"
    json_instruction: str = JSON_INSTRUCTION
    schema_instruction: str = SCHEMA_INSTRUCTION
    blank_system: bool = True
    roles: tuple[str, ...] = ("latest_reminder", "developer")
    joint: str = "\n\n"
    system: str = ""

    def turns(self, messages: Sequence[Message], thinking: bool, generate: bool) -> str:
        """Words and results between two answers are one user's turn."""
        told = [i for i, m in enumerate(messages) if m["role"] in SPEAKERS]
        last = told[-1] if told else -1
        keeps = any(m.get("tools") for m in messages)
        out, said, calls = [BOS], list[str](), []  # `said` in the turn of a user that is open
        for number, message in enumerate(messages):
            role, content = message["role"], message["content"]
            thinks = thinking and (keeps or number >= last)
            if role in ("user", "developer"):
                own = message.get("tools") if role == "developer" else None
                said += [content, self._markup().describe(own)] if own else [content]
            elif role == "tool":
                after = messages[number + 1 : number + 2]
                calls.append(message)
                if not (after and after[0]["role"] == "tool"):
                    said.append(self._outputs(calls, messages[:number]))
                    calls = []
            elif role == "assistant":
                out += [self._turn(said), ASSISTANT + (THINK_OPEN if thinks else THINK_CLOSE)]
                out += self._answer(message, thinks)
                said = []
            else:
                token = REMINDER if role == "latest_reminder" else self.system
                out += [self._turn(said), token + content]
                said = []
        out.append(self._turn(said))
        if generate:
            out.append(_opening(messages[-1].get("task"), thinking))
        return "".join(out)

    def _turn(self, said: Sequence[str]) -> str:
        return USER + "\n\n".join(said) if said else ""

    def _outputs(self, results: Sequence[Message], before: Sequence[Message]) -> str:
        """Results in the order of the calls that they answer."""
        calls = next(m["tool_calls"] for m in reversed(before) if m.get("tool_calls"))
        order = {call.get("id"): place for place, call in enumerate(calls)}
        ordered = sorted(results, key=lambda m: order.get(m.get("tool_call_id"), 0))
        return self._markup().outputs([m["content"] for m in ordered])

    def _answer(self, message: Message, thinks: bool) -> Iterator[str]:
        before, closed, after = message["content"].partition(THINK_CLOSE)
        if thinks:
            told = before.removeprefix(THINK_OPEN) if closed else ""
            yield (message.get("reasoning_content") or told) + THINK_CLOSE
        calls = message.get("tool_calls")
        yield after if closed else message["content"]
        yield (self._markup().calls(calls) if calls else "") + EOS

    def _markup(self) -> ToolMarkup:
        assert self.tools is not None
        return self.tools


def _opening(task: str | None, thinking: bool) -> str:
    """What the model goes on from."""
    opening = ASSISTANT + (THINK_OPEN if thinking else THINK_CLOSE)
    if task is None:
        return opening
    if task not in TASKS:
        raise PromptError(f"Task is {task!r}. Expected one of {', '.join(TASKS)}.")
    return f"{opening if task == 'action' else ''}<｜{task}｜>"


INTRODUCTION = """## Tools

You have access to a set of tools to help answer the user's question. You can invoke tools by \
writing a "[CALLS]" block like the following:

[CALLS]
[INVOKE name="$TOOL_NAME">
[PARAMETER name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE[/PARAMETER]
...
[/INVOKE]
[INVOKE name="$TOOL_NAME2">
...
[/INVOKE]
[/CALLS]

String parameters should be specified as is and set `string="true"`. For all other types (numbers, \
booleans, arrays, objects), pass the value in JSON format and set `string="false"`.

If thinking_mode is enabled (triggered by <think>), you MUST output your complete reasoning inside \
<think>...</think> BEFORE any tool calls or final response.

Otherwise, output directly after </think> with tool calls or final response.

### Available Tool Schemas

{schemas}

You MUST strictly follow the above defined tool name and parameter schemas to invoke tool calls.
"""
MAXIMUM = """Reasoning Effort: Absolute maximum with no shortcuts permitted.
You MUST be very thorough in your thinking and comprehensively decompose the problem to resolve \
the root cause, rigorously stress-testing your logic against all potential paths, edge cases, and \
adversarial scenarios.
Explicitly write out your entire deliberation process, documenting every intermediate step, \
considered alternative, and rejected hypothesis to ensure absolutely no assumption is left \
unchecked.

"""
BEYOND = """Reasoning Effort: Beyond maximum — exhaustive, relentless, and uncompromising.
You MUST reason with the utmost depth and rigor, leaving absolutely nothing to chance: \
exhaustively decompose the problem into its most fundamental components, trace every causal chain \
to its root, and resolve the underlying cause rather than any surface symptom.
Do not stop reasoning until you have independently verified the solution from multiple angles and \
are certain that no assumption remains unchecked and no error remains undiscovered.

"""
BUDGET = (
    "Reasoning Effort: {budget} (range 1-100, the higher the value, the more thorough the "
    "reasoning)\n\n"
)
# What each effort puts before the system prompt of a conversation with thinking.
PREVIEW_EFFORTS = {"high": "", "max": MAXIMUM}
DATED_EFFORTS = {"low": "", "high": MAXIMUM, "max": BEYOND}
V41_EFFORTS: Mapping[str, str] = {
    name: BUDGET.format(budget=budget)
    for name, budget in {"low": 50, "high": 75, "max": 100}.items()
}

FORMATS = (
    V4Chat("v4_chat", efforts=PREVIEW_EFFORTS, effort="high"),
    V4Chat("v4_dated_chat", efforts=DATED_EFFORTS, effort="low"),
    V4Chat("v4_vision", efforts=DATED_EFFORTS, effort="low", picture=IMAGES[0]),
    V4Chat(
        "v41_chat",
        tools=V41Markup(),
        efforts=V41_EFFORTS,
        effort="high",
        system=SYSTEM,
        picture=IMAGES[1],
    ),
)
