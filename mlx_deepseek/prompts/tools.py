"""What a tool markup is, and the two with JSON arguments: fenced (V2.5 to R1-0528), bare (V3.1)."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from mlx_deepseek.prompts.markers import (
    CALL_CLOSE,
    CALL_OPEN,
    CALLS_CLOSE,
    CALLS_OPEN,
    OUTPUT_CLOSE,
    OUTPUT_OPEN,
    OUTPUTS_CLOSE,
    OUTPUTS_OPEN,
    TOOL_SEPARATOR,
)

Tool = Mapping[str, Any]


@dataclass(frozen=True)
class ToolCall:
    """A call the model asked for; `arguments` is its JSON text, as the OpenAI API has it."""

    name: str
    arguments: str


class ToolMarkup(ABC):
    """How a family introduces tools, writes calls and their results, and reads calls back.

    A block of calls stands between one of `opens` and `closes`, each call in it between
    `call_opens` and `call_closes`. `by_value`: arguments are written one by one instead of as JSON.
    """

    opens: ClassVar[tuple[str, ...]]
    closes: ClassVar[str]
    call_opens: ClassVar[str]
    call_closes: ClassVar[str]
    by_value: ClassVar[bool] = False

    @abstractmethod
    def describe(self, tools: Sequence[Tool]) -> str:
        """The tools as the system prompt introduces them."""

    @abstractmethod
    def calls(self, calls: Sequence[Tool]) -> str:
        """An assistant's calls, OpenAI-shaped, as the model writes them."""

    @abstractmethod
    def outputs(self, results: Sequence[str]) -> str:
        """Results of the calls before them, in order."""

    @abstractmethod
    def read(self, body: str) -> ToolCall | None:
        """The call between `call_opens` and `call_closes`; None when it is malformed."""

    def read_all(self, block: str) -> tuple[tuple[ToolCall, ...], str]:
        """The well-formed calls of a block, and what else it says, malformed calls included."""
        calls: list[ToolCall] = []
        rest: list[str] = []
        while block:
            before, opened, block = block.partition(self.call_opens)
            rest.append(before if before.strip() else "")
            body, closed, block = block.partition(self.call_closes)
            call = self.read(body) if opened and closed else None
            if call is not None:
                calls.append(call)
            else:
                rest.append(opened + body + closed)
        return tuple(calls), "".join(rest)


def is_json(text: str, kind: type = object) -> bool:
    """Whether a text is JSON of a `kind`."""
    try:
        return isinstance(json.loads(text), kind)
    except (ValueError, RecursionError):  # the latter from thousands of nested brackets
        return False


@dataclass(frozen=True)
class JsonMarkup(ToolMarkup):
    """`fenced`: calls carry a type and a ```json fence, results are grouped, `joint` between.

    `preamble`: how the tools are introduced, where that is not as in V2.5's model card.
    """

    opens: ClassVar[tuple[str, ...]] = (CALLS_OPEN,)
    closes: ClassVar[str] = CALLS_CLOSE
    call_opens: ClassVar[str] = CALL_OPEN
    call_closes: ClassVar[str] = CALL_CLOSE

    fenced: bool
    joint: str = "\n"
    preamble: str = ""

    def describe(self, tools: Sequence[Tool]) -> str:
        """The tools as DeepSeek's model cards put them into the system prompt."""
        if self.preamble:
            return self.preamble + "".join(
                f"\n```json\n{json.dumps(tool, ensure_ascii=False)}\n```\n" for tool in tools
            )
        functions = [tool.get("function", tool) for tool in tools]
        return self._describe_fenced(functions) if self.fenced else self._describe_bare(functions)

    def calls(self, calls: Sequence[Tool]) -> str:
        """An assistant's calls, OpenAI-shaped, as the model writes them."""
        rendered = [self._call(call) for call in calls]
        return CALLS_OPEN + ("\n" if self.fenced else "").join(rendered) + CALLS_CLOSE

    def outputs(self, results: Sequence[str]) -> str:
        """Results of the calls before them, in order."""
        rendered = [OUTPUT_OPEN + result + OUTPUT_CLOSE for result in results]
        if self.fenced:
            return OUTPUTS_OPEN + self.joint.join(rendered) + OUTPUTS_CLOSE
        return "".join(rendered)

    def read(self, body: str) -> ToolCall | None:
        """The call between CALL_OPEN and CALL_CLOSE; None when it is malformed."""
        head, separator, body = body.partition(TOOL_SEPARATOR)
        if not separator:
            return None
        name, arguments = (head, body) if not self.fenced else _split_fence(body)
        name, arguments = name.strip(), arguments.strip()
        return ToolCall(name, arguments) if name and is_json(arguments, dict) else None

    def _call(self, call: Tool) -> str:
        function = call["function"]
        arguments = function["arguments"]
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        if self.fenced:
            body = f"{function['name']}\n```json\n{arguments}\n```"
            return f"{CALL_OPEN}{call.get('type', 'function')}{TOOL_SEPARATOR}{body}{CALL_CLOSE}"
        return f"{CALL_OPEN}{function['name']}{TOOL_SEPARATOR}{arguments}{CALL_CLOSE}"

    def _describe_fenced(self, functions: Sequence[Tool]) -> str:
        listed = "\n".join(
            f"- `{f['name']}`:\n```json\n{json.dumps(f, ensure_ascii=False, indent=4)}\n```"
            for f in functions
        )
        return HEADING + listed

    def _describe_bare(self, functions: Sequence[Tool]) -> str:
        listed = "".join(
            f"\n### {f['name']}\nDescription: {f.get('description', '')}\n\n"
            f"Parameters: {json.dumps(f.get('parameters', {}), ensure_ascii=False)}\n"
            for f in functions
        )
        example = (
            f"{CALLS_OPEN}{CALL_OPEN}tool_call_name{TOOL_SEPARATOR}tool_call_arguments{CALL_CLOSE}"
            f"{{additional_tool_calls}}{CALLS_CLOSE}"
        )
        return (
            f"## Tools\nYou have access to the following tools:\n{listed}\n"
            f"IMPORTANT: ALWAYS adhere to this exact format for tool use:\n{example}\n\nWhere:\n"
            "- `tool_call_name` must be an exact match to one of the available tools\n"
            "- `tool_call_arguments` must be valid JSON that strictly follows the tool's "
            "Parameters Schema\n"
            "- For multiple tool calls, chain them directly without separators or spaces"
        )


def _split_fence(body: str) -> tuple[str, str]:
    """Name and arguments of "NAME\\n```json\\n{...}\\n```"; a missing fence is forgiven."""
    name, _, rest = body.strip().partition("\n")
    rest = rest.strip()
    for opening in ("```json", "```"):
        if rest.startswith(opening):
            rest = rest[len(opening) :]
            break
    return name, rest.strip().removesuffix("```")


HEADING = "## Tools\n\n### Function\n\nYou have the following functions available:\n\n"
R1_0528_PREAMBLE = (
    "You are a helpful assistant with tool calling capabilities. When a tool call is needed, you "
    "MUST use the following format to issue the call:\n"
    f"{CALLS_OPEN}{CALL_OPEN}function{TOOL_SEPARATOR}FUNCTION_NAME\n"
    '```json\n{"param1": "value1", "param2": "value2"}\n```'
    f"{CALL_CLOSE}{CALLS_CLOSE}\n\nMake sure the JSON is valid." + HEADING
)

FENCED, BARE = JsonMarkup(fenced=True), JsonMarkup(fenced=False)
DISTILLS = JsonMarkup(fenced=True, joint="")  # their template joins results without a newline
R1_0528 = JsonMarkup(fenced=True, preamble=R1_0528_PREAMBLE)
