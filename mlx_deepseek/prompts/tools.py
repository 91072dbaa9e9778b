"""What a tool markup is, and the two with JSON arguments: fenced (V2.5 to R1-0528), bare (V3.1)."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from mlx_deepseek.prompts.call_grammar import Offered, Rules
from mlx_deepseek.prompts.call_reader import CallPiece, CallSource, Script, Step
from mlx_deepseek.prompts.special_tokens import (
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
# How arguments begin, which tells them from a name: an object, a fence, a text that holds one.
ARGUMENTS = '{`"'
FENCE = "```json"
NAME = re.compile(r'[^\s{}\[\]"`<>]+')


@dataclass(frozen=True)
class ToolCall:
    """A call the model asked for; `arguments` is its JSON text, as the OpenAI API has it."""

    name: str
    arguments: str


class ToolMarkup(ABC):
    """How a family introduces tools, writes calls and their results, and reads calls back.

    In a block of calls, each call stands between `call_opens` and `call_closes`. `by_value`:
    arguments are written one by one instead of as JSON.
    """

    call_opens: ClassVar[str]
    call_closes: ClassVar[str]
    by_value: ClassVar[bool] = False

    @property
    @abstractmethod
    def blocks(self) -> Mapping[str, str]:
        """The markers that open a block of calls, each with the one that closes it."""

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

    @abstractmethod
    def script(self, source: CallSource) -> Script:
        """Reads a block of calls as it is written."""

    @abstractmethod
    def call_rule(self, rules: Rules, function: Offered) -> str:
        """The name of a rule for a call of one function."""

    @property
    @abstractmethod
    def around(self) -> tuple[str, str, str]:
        """What a block begins with, what stands between two calls, and what it ends with."""

    def block_rule(
        self, rules: Rules, functions: Sequence[Offered], several: bool, begun: str = ""
    ) -> str:
        """A rule for a block of calls, or for what follows its beginning `begun`."""
        first, between, last = self.around
        call = rules.choice([self.call_rule(rules, function) for function in functions])
        first = first[first.index(begun) + len(begun) :]
        parts = [rules.literal(text) for text in (first, last) if text]
        parts.insert(len(parts) - 1, rules.series(call, between, several))
        return rules.add(" ".join(parts))

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

    call_opens: ClassVar[str] = CALL_OPEN
    call_closes: ClassVar[str] = CALL_CLOSE

    fenced: bool
    joint: str = "\n"
    preamble: str = ""

    @property
    def blocks(self) -> Mapping[str, str]:
        """R1-0528 forgets the first marker at times and begins with a call."""
        return {CALLS_OPEN: CALLS_CLOSE, CALL_OPEN: CALLS_CLOSE}

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
        """The call between CALL_OPEN and CALL_CLOSE; None when it is malformed.

        Models write the form of their predecessors and successors at times, so each is understood.
        """
        head, separator, body = body.partition(TOOL_SEPARATOR)
        if not separator:
            return None
        name, _, rest = body.strip().partition("\n")
        bare, fenced = (head, body), (name, rest)
        typed = head.strip() == "function"
        for name, written in (fenced, bare) if self.fenced else (bare, fenced)[: 1 + typed]:
            arguments = json_object(written)
            if NAME.fullmatch(name.strip()) and arguments is not None:
                return ToolCall(name.strip(), arguments)
        return None

    @property
    def around(self) -> tuple[str, str, str]:
        """Calls follow each other in lines where they are fenced."""
        return CALLS_OPEN, "\n" if self.fenced else "", CALLS_CLOSE

    def call_rule(self, rules: Rules, function: Offered) -> str:
        """Any JSON of the schema between the markers."""
        arguments = rules.json(function.schema, function)
        begin, end = f"{function.name}{TOOL_SEPARATOR}", CALL_CLOSE
        if self.fenced:
            begin, end = f"function{TOOL_SEPARATOR}{function.name}\n```json\n", f"\n```{end}"
        return rules.add(f"{rules.literal(CALL_OPEN + begin)} {arguments} {rules.literal(end)}")

    def script(self, source: CallSource) -> Script:
        """Names before arguments, whichever of the forms that `read` understands it is."""
        while True:
            before, opened = yield from source.take(CALL_OPEN)
            if before.strip():
                yield before
            if not opened:
                return
            head, marker = yield from source.take(TOOL_SEPARATOR, CALL_CLOSE)
            name, line = head, ""
            if marker == TOOL_SEPARATOR:
                name, line = yield from self._name(source, head)
            if marker != TOOL_SEPARATOR or not NAME.fullmatch(name.strip()):
                yield opened + head + marker + line
                if marker != CALL_CLOSE:
                    yield "".join((yield from source.take(CALL_CLOSE)))
                continue
            yield CallPiece(name=name.strip())
            yield from _arguments(source)
            yield from source.take(CALL_CLOSE)

    def _name(self, source: CallSource, head: str) -> Generator[Step, None, tuple[str, str]]:
        """The name, and what of the call's body was taken for it: a line, where that is it."""
        begun = yield from source.stripped(CALL_CLOSE)
        bare = not begun or begun[0] in ARGUMENTS or not (self.fenced or head.strip() == "function")
        if bare:
            return head, ""
        while True:
            before, found = source.ready(CALL_CLOSE)
            line, newline, _ = before.partition("\n")
            if newline or found or source.ended:
                source.drop(len(line))
                return line, line
            yield None

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


def _arguments(source: CallSource) -> Script:
    """Arguments before CALL_CLOSE as JSON; what is no object comes as `json_object` reads it."""
    begun = yield from source.stripped(CALL_CLOSE)
    while FENCE.startswith(begun) and not (source.ready(CALL_CLOSE)[1] or source.ended):
        yield None
        begun = source.ready(CALL_CLOSE)[0]
    if begun.startswith("```"):
        source.drop(len(FENCE) if begun.startswith(FENCE) else 3)
        begun = yield from source.stripped(CALL_CLOSE)
    if begun.startswith("{"):
        yield from source.json_object(CALL_CLOSE)
        return
    while True:
        written, found = source.ready(CALL_CLOSE)
        if found or source.ended:
            break
        yield None
    source.drop(len(written))
    yield CallPiece(arguments=json_object(written) or written.strip())


def json_object(written: str) -> str | None:
    """The JSON object that arguments are, a fence around it taken off; {} of none at all."""
    text = written.strip()
    if text.startswith("```"):
        text = text.removeprefix("```").removeprefix("json").removesuffix("```").strip()
    if not text:
        return "{}"
    if is_json(text, str):  # encoded twice
        text = json.loads(text)
    return text if is_json(text, dict) else None


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
