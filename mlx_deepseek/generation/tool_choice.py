"""Which tools an answer may call, must call, and with what arguments."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlx_deepseek.errors import PromptError
from mlx_deepseek.generation.closed_schema import closed
from mlx_deepseek.prompts.call_grammar import Offered, Rules
from mlx_deepseek.prompts.control_tokens import well_formed
from mlx_deepseek.prompts.messages import check_tools
from mlx_deepseek.prompts.tools import ToolMarkup

NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}


@dataclass(frozen=True)
class ToolChoice:
    """`functions` may be called, at least one of them if that is `required`, `several` at once."""

    functions: tuple[Offered, ...] = ()
    required: bool = False
    strict: bool = False
    several: bool = True

    @property
    def constrains(self) -> bool:
        """Whether there are answers that it excludes."""
        return bool(self.functions) and (self.required or self.strict or not self.several)

    def rule(self, rules: Rules, markup: ToolMarkup, begun: str = "") -> str:
        """A rule for a block of calls, or for what follows its marker `begun`."""
        return markup.block_rule(rules, self.functions, self.several, begun)


def tool_choice(
    tools: Sequence[Mapping[str, Any]] | None, choice: Any = None, parallel: Any = None
) -> ToolChoice | None:
    """The options `tools`, `tool_choice` and `parallel_tool_calls`; None: nothing may be called.

    Raises:
        PromptError: a tool that is not there, or a choice of another shape.
    """
    match choice:
        case "none":
            return None
        case None | "auto" | "required":
            wanted = None
        case {"function": {"name": str(wanted)}}:
            pass
        case _:
            raise PromptError(
                f"tool_choice is {choice!r:.80}. Expected auto, none, required or "
                '{"type": "function", "function": {"name": ...}}.'
            )
    found = [_offered(function) for function in check_tools(well_formed(list(tools or ())))]
    strict = any(not function.lenient for function in found)
    if wanted is not None:
        found = [function for function in found if function.name == wanted]
    required = wanted is not None or choice == "required"
    if required and not found:
        raise PromptError(f"tool_choice is {choice!r:.80}, but no such tool is offered.")
    return ToolChoice(tuple(found), required, strict, parallel is not False)


def described(tools: Any) -> Any:
    """Tools as prompts describe them: "strict" is for who reads the answer, not for the model."""
    return [_without_strict(tool) for tool in tools] if tools else tools


def _without_strict(tool: Any) -> Any:
    if not isinstance(tool, Mapping):
        return tool
    inner = {"function": _without_strict(tool["function"])} if "function" in tool else {}
    return {key: value for key, value in tool.items() if key != "strict"} | inner


def _offered(function: Mapping[str, Any]) -> Offered:
    """A function with the schema of its arguments, which is an object's."""
    schema = function.get("parameters")
    strict = bool(function.get("strict"))
    if not isinstance(schema, Mapping) or not schema:
        return Offered(function["name"], NOTHING, lenient=not strict)
    return Offered(function["name"], {**closed(schema), "type": "object"}, lenient=not strict)
