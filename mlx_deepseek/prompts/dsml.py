"""DeepSeek-V3.2's tool markup: tags around every call and every argument (arXiv:2512.02556)."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from mlx_deepseek.prompts.markers import DSML, THINK_CLOSE, THINK_OPEN
from mlx_deepseek.prompts.tools import Tool, ToolCall, ToolMarkup, is_json

CALLS_OPEN, CALLS_CLOSE = f"<{DSML}function_calls>", f"</{DSML}function_calls>"
INVOKE_OPEN, INVOKE_CLOSE = f"<{DSML}invoke", f"</{DSML}invoke>"
PARAMETER_OPEN, PARAMETER_CLOSE = f"<{DSML}parameter", f"</{DSML}parameter>"

NAME = re.compile(r'\s*name="(.*?)">\s*', re.DOTALL)
PARAMETER = re.compile(r'\s*name="(.*?)" string="(true|false)">(.*)', re.DOTALL)


@dataclass(frozen=True)
class DsmlMarkup(ToolMarkup):
    """Texts are written as they are, without quotes or escapes; anything else as JSON."""

    # The blank line before calls is the format's, not the answer's.
    opens: ClassVar[tuple[str, ...]] = ("\n\n" + CALLS_OPEN, CALLS_OPEN)
    closes: ClassVar[str] = CALLS_CLOSE
    call_opens: ClassVar[str] = INVOKE_OPEN
    call_closes: ClassVar[str] = INVOKE_CLOSE
    by_value: ClassVar[bool] = True

    def describe(self, tools: Sequence[Tool]) -> str:
        """The tools as V3.2's encoder puts them into the system prompt."""
        schemas = "\n".join(_json(tool.get("function", tool)) for tool in tools)
        return f"{INTRODUCTION}<functions>\n{schemas}\n</functions>\n"

    def calls(self, calls: Sequence[Tool]) -> str:
        """An assistant's calls, arguments decoded, as the model writes them."""
        rendered = "\n".join(self._call(call["function"]) for call in calls)
        return f"\n\n{CALLS_OPEN}\n{rendered}\n{CALLS_CLOSE}"

    def outputs(self, results: Sequence[str]) -> str:
        """Results of the calls before them, in order."""
        listed = "".join(f"<result>{result}</result>\n" for result in results)
        return f"\n\n<function_results>\n{listed}</function_results>\n\n"

    def read(self, body: str) -> ToolCall | None:
        """The call between INVOKE_OPEN and INVOKE_CLOSE; None when it is malformed."""
        head, *parameters = body.split(PARAMETER_OPEN)
        name = NAME.fullmatch(head)
        arguments: dict[str, str] = {}
        for parameter in parameters:
            written, closed, rest = parameter.partition(PARAMETER_CLOSE)
            match = PARAMETER.fullmatch(written)
            if not (closed and match) or rest.strip() or match[1] in arguments:
                return None
            is_text, value = match[2] == "true", match[3]
            if not (is_text or is_json(value)):
                return None
            arguments[match[1]] = _json(value) if is_text else value
        if name is None or not name[1]:
            return None
        # The model's own JSON is kept as it is: decoding could change its numbers.
        listed = ", ".join(f"{_json(key)}: {value}" for key, value in arguments.items())
        return ToolCall(name[1], f"{{{listed}}}")

    def _call(self, function: Mapping[str, Any]) -> str:
        parameters = "\n".join(
            f'{PARAMETER_OPEN} name="{key}" string="{"true" if isinstance(value, str) else "false"}'
            f'">{value if isinstance(value, str) else _json(value)}{PARAMETER_CLOSE}'
            for key, value in function["arguments"].items()
        )
        return f'{INVOKE_OPEN} name="{function["name"]}">\n{parameters}\n{INVOKE_CLOSE}'


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


INTRODUCTION = f"""## Tools

You have access to a set of tools you can use to answer the user's question.
You can invoke functions by writing a "{CALLS_OPEN}" block like the following as part of your \
reply to the user:
{CALLS_OPEN}
{INVOKE_OPEN} name="$FUNCTION_NAME">
{PARAMETER_OPEN} name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE{PARAMETER_CLOSE}
...
{INVOKE_CLOSE}
{INVOKE_OPEN} name="$FUNCTION_NAME2">
...
{INVOKE_CLOSE}
{CALLS_CLOSE}

String and scalar parameters should be specified as is without any escaping or quotes, while \
lists and objects should use JSON format. The "string" attribute should be set to "true" for \
string type parameters and "false" for other types (numbers, booleans, arrays, objects).

If the thinking_mode is enabled, then after function results you should strongly consider \
outputting a thinking block. Here is an example:

{CALLS_OPEN}
...
{CALLS_CLOSE}

<function_results>
...
</function_results>

{THINK_OPEN}...thinking about results{THINK_CLOSE}

Here are the functions available in JSONSchema format:
"""
MARKUP = DsmlMarkup()
