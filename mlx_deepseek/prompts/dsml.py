"""DeepSeek's tool markup since V3.2: tags around every call and argument (arXiv:2512.02556)."""

import json
import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from mlx_deepseek.prompts.call_grammar import Offered, Rules, Tags, tagged_call
from mlx_deepseek.prompts.call_reader import CallPiece, CallSource, Script, Step
from mlx_deepseek.prompts.special_tokens import DSML
from mlx_deepseek.prompts.tools import Tool, ToolCall, ToolMarkup, is_json

CALLS_OPEN, CALLS_CLOSE = f"<{DSML}function_calls>", f"</{DSML}function_calls>"
INVOKE_OPEN, INVOKE_CLOSE = f"<{DSML}invoke", f"</{DSML}invoke>"
PARAMETER_OPEN, PARAMETER_CLOSE = f"<{DSML}parameter", f"</{DSML}parameter>"

NAME = re.compile(r'\s*name="(.*?)">\s*', re.DOTALL)
PARAMETER = re.compile(r'\s*name="(.*?)" string="(true|false)">(.*)', re.DOTALL)
ATTRIBUTES = re.compile(r'\s*name="(.*?)(?:" string="(true|false))?', re.DOTALL)
UNTYPED = re.compile(r'\s*name="([^"]*)"()>(.*)', re.DOTALL)


@dataclass(frozen=True)
class DsmlMarkup(ToolMarkup):
    """Texts are written as they are, without quotes or escapes; anything else as JSON."""

    # The blank line before calls is the format's, not the answer's.
    opens: ClassVar[tuple[str, ...]] = ("\n\n" + CALLS_OPEN, CALLS_OPEN)
    closes: ClassVar[str] = CALLS_CLOSE
    call_opens: ClassVar[str] = INVOKE_OPEN
    call_closes: ClassVar[str] = INVOKE_CLOSE
    parameter_opens: ClassVar[str] = PARAMETER_OPEN
    parameter_closes: ClassVar[str] = PARAMETER_CLOSE
    by_value: ClassVar[bool] = True

    @property
    def blocks(self) -> Mapping[str, str]:
        """The markers around calls, and the same without DSML, which models write at times."""
        plain = {tag.replace(DSML, ""): self.closes.replace(DSML, "") for tag in self.opens}
        return dict.fromkeys(self.opens, self.closes) | plain

    def describe(self, tools: Sequence[Tool]) -> str:
        """The tools as V3.2's encoder puts them into the system prompt."""
        return f"{self._example(INTRODUCTION)}<functions>\n{schemas(tools)}\n</functions>\n"

    def calls(self, calls: Sequence[Tool]) -> str:
        """An assistant's calls, arguments decoded, as the model writes them."""
        rendered = "\n".join(self._call(call["function"]) for call in calls)
        return f"{self.opens[0]}\n{rendered}\n{self.closes}"

    def outputs(self, results: Sequence[str]) -> str:
        """Results of the calls before them, in order."""
        listed = "".join(f"<result>{result}</result>\n" for result in results)
        return f"\n\n<function_results>\n{listed}</function_results>\n\n"

    def read_all(self, block: str) -> tuple[tuple[ToolCall, ...], str]:
        """The calls of a block, with DSML in its tags or without."""
        if DSML in block:
            return super().read_all(block)
        tags = (self.call_opens, self.call_closes, self.parameter_opens, self.parameter_closes)
        for tag in tags:
            block = block.replace(tag.replace(DSML, ""), tag)
        calls, rest = super().read_all(block)
        return calls, rest.replace(DSML, "")

    @property
    def around(self) -> tuple[str, str, str]:
        """Every tag stands on a line of its own."""
        return f"{self.opens[0]}\n", "\n", f"\n{self.closes}"

    def call_rule(self, rules: Rules, function: Offered) -> str:
        """Arguments one by one, texts without quotes."""
        tags = (self.call_opens, self.call_closes, self.parameter_opens, self.parameter_closes)
        return tagged_call(rules, function, Tags(*tags))

    def script(self, source: CallSource) -> Script:
        """The name, then each parameter as a member of a JSON object."""
        plain = self.call_opens.replace(DSML, "")
        while True:
            before, opened = yield from source.take(self.call_opens, plain)
            if before.strip():
                yield before
            if not opened:
                return
            tags = (self.call_closes, self.parameter_opens, self.parameter_closes)
            if opened == plain:
                tags = tuple(tag.replace(DSML, "") for tag in tags)
            close = tags[0]
            head, marker = yield from source.take('">', close)
            name = re.fullmatch(r'\s*name="(.+)', head, re.DOTALL)
            if marker == '">' and name and (yield from _has_arguments(source, *tags)):
                yield CallPiece(name=name[1])
                yield from _members(source, *tags)
                continue
            yield opened + head + marker
            if marker != close:
                yield "".join((yield from source.take(close)))

    def read(self, body: str) -> ToolCall | None:
        """The call between `call_opens` and `call_closes`; None when it is malformed.

        A JSON object in place of parameters is understood.
        """
        head, *parameters = body.split(self.parameter_opens)
        name = NAME.match(head)
        written = head[name.end() :].strip() if name else ""
        if written:
            known = name is not None and name[1] and not parameters and is_json(written, dict)
            return ToolCall(name[1], written) if known and name else None
        arguments: dict[str, str] = {}
        for parameter in parameters:
            written, closed, rest = parameter.partition(self.parameter_closes)
            match = PARAMETER.fullmatch(written) or UNTYPED.fullmatch(written)
            if not (closed and match) or rest.strip() or match[1] in arguments:
                return None
            value = match[3]
            is_text = match[2] == "true" or (not match[2] and not is_json(value))
            if not (is_text or is_json(value)):
                return None
            arguments[match[1]] = _json(value) if is_text else value
        if name is None or not name[1]:
            return None
        # The model's own JSON is kept as it is: decoding could change its numbers.
        listed = ", ".join(f"{_json(key)}: {value}" for key, value in arguments.items())
        return ToolCall(name[1], f"{{{listed}}}")

    def _call(self, function: Mapping[str, Any]) -> str:
        written = "\n".join(self._parameter(*item) for item in function["arguments"].items())
        return f'{self.call_opens} name="{function["name"]}">\n{written}\n{self.call_closes}'

    def _parameter(self, name: str, value: Any) -> str:
        text = isinstance(value, str)
        return (
            f'{self.parameter_opens} name="{name}" string="{"true" if text else "false"}">'
            f"{value if text else _json(value)}{self.parameter_closes}"
        )

    def _example(self, text: str) -> str:
        """A text with the tags in it spelled as this markup has them."""
        spelled = {
            "[CALLS]": self.opens[1],
            "[/CALLS]": self.closes,
            "[INVOKE": self.call_opens,
            "[/INVOKE]": self.call_closes,
            "[PARAMETER": self.parameter_opens,
            "[/PARAMETER]": self.parameter_closes,
        }
        for tag, spelling in spelled.items():
            text = text.replace(tag, spelling)
        return text


def _has_arguments(
    source: CallSource, close: str, opens: str, closes: str
) -> Generator[Step, None, bool]:
    """Whether a tag is followed by a call's arguments, or by none, and no other text."""
    begun = yield from source.stripped(close)
    while begun and opens.startswith(begun) and begun != opens and not source.ended:
        yield None
        begun = source.ready(close)[0]
    return begun.startswith(("{", opens)) or (not begun and not source.ended)


def _members(source: CallSource, close: str, opens: str, closes: str) -> Script:
    """Parameters up to the tag that closes a call, which is taken; or a JSON object."""
    if source.text.startswith("{"):
        yield from source.json_object(close)
        yield from source.take(close)
        return
    before = "{"
    while True:
        _, marker = yield from source.take(opens, close)
        if marker != opens:
            yield CallPiece(arguments="{}" if before == "{" else "}" if marker else "")
            return
        head, _ = yield from source.take('">')
        match = ATTRIBUTES.fullmatch(head)
        yield CallPiece(arguments=f"{before}{_json(match[1] if match else head.strip())}: ")
        before = ", "
        yield from _value(source, match[2] if match else None, closes)


def _value(source: CallSource, is_text: str | None, closes: str) -> Script:
    """A parameter's value as JSON, as it is written; whole where nobody says what it is."""
    if is_text is None:
        value, _ = yield from source.take(closes)
        yield CallPiece(arguments=value if is_json(value) else _json(value))
        return
    quote = '"' if is_text == "true" else ""
    while True:
        before, found = source.ready(closes)
        source.drop(len(before))
        written = quote + (_json(before)[1:-1] if is_text == "true" else before)
        if found or source.ended:
            source.drop(len(found))
            yield CallPiece(arguments=written + ('"' if is_text == "true" and found else ""))
            return
        if before:
            yield CallPiece(arguments=written)
            quote = ""
        yield None


def schemas(tools: Sequence[Tool]) -> str:
    """The functions' descriptions, one a line."""
    return "\n".join(_json(tool.get("function", tool)) for tool in tools)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


INTRODUCTION = """## Tools

You have access to a set of tools you can use to answer the user's question.
You can invoke functions by writing a "[CALLS]" block like the following as part of your \
reply to the user:
[CALLS]
[INVOKE name="$FUNCTION_NAME">
[PARAMETER name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE[/PARAMETER]
...
[/INVOKE]
[INVOKE name="$FUNCTION_NAME2">
...
[/INVOKE]
[/CALLS]

String and scalar parameters should be specified as is without any escaping or quotes, while \
lists and objects should use JSON format. The "string" attribute should be set to "true" for \
string type parameters and "false" for other types (numbers, booleans, arrays, objects).

If the thinking_mode is enabled, then after function results you should strongly consider \
outputting a thinking block. Here is an example:

[CALLS]
...
[/CALLS]

<function_results>
...
</function_results>

<think>...thinking about results</think>

Here are the functions available in JSONSchema format:
"""
MARKUP = DsmlMarkup()
