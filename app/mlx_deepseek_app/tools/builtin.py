"""A calculator and a clock, so that calling tools can be tried with no set-up."""

import ast
import math
import operator
from collections.abc import Callable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from mlx_deepseek_app.tools.tool import Tool, ToolError

CHARACTERS_AT_MOST = 500
BITS_AT_MOST = 20_000  # of a number on the way
FACTORIAL_AT_MOST = 1000
DIGITS = 15  # that a float holds for sure

BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: lambda a, b: _power(a, b),
}  # fmt: skip
UNARY: dict[type, Callable[[Any], Any]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
NAMES = {"pi": math.pi, "e": math.e, "tau": math.tau}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sqrt": math.sqrt, "exp": math.exp, "ln": math.log, "log": math.log, "log10": math.log10,
    "log2": math.log2, "sin": math.sin, "cos": math.cos, "tan": math.tan, "asin": math.asin,
    "acos": math.acos, "atan": math.atan, "abs": abs, "round": round, "floor": math.floor,
    "ceil": math.ceil, "min": min, "max": max, "gcd": math.gcd,
    "factorial": lambda n: _factorial(n),
}  # fmt: skip


def calculate(expression: str) -> str:
    """The value of an arithmetic expression.

    Raises:
        ToolError: it is none, has no value, or the value is too large.
    """
    if len(expression) > CHARACTERS_AT_MOST:
        raise ToolError(f"The expression is longer than {CHARACTERS_AT_MOST} characters.")
    text = expression.strip().replace("^", "**").replace("×", "*").replace("÷", "/")
    text = text.replace("−", "-")
    try:
        value = _value(ast.parse(text, mode="eval").body)
    except ToolError:
        raise
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ToolError(f"{expression!r:.80} is no arithmetic expression.") from error
    except (ArithmeticError, ValueError, TypeError) as error:
        raise ToolError(f"{expression!r:.80} has no value: {error}.") from error
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else str(value)


def _value(node: ast.expr) -> int | float:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return _bounded(number)
        case ast.Name(id=name) if name in NAMES:
            return NAMES[name]
        case ast.UnaryOp(op=op, operand=operand) if type(op) in UNARY:
            return UNARY[type(op)](_value(operand))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
            return _bounded(BINARY[type(op)](_value(left), _value(right)))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
            return _bounded(FUNCTIONS[name](*map(_value, args)))
    raise ToolError(
        f"{ast.unparse(node)!r:.60} is not understood. Expected numbers, + - * / // % ** ( ) and "
        f"{', '.join(FUNCTIONS)}, pi, e."
    )


def _bounded(value: Any) -> int | float:
    if isinstance(value, complex):
        raise ToolError("The value is no real number.")
    if isinstance(value, int) and value.bit_length() > BITS_AT_MOST:
        raise ToolError("The value is too large.")
    return value


def _power(base: Any, exponent: Any) -> Any:
    whole = isinstance(base, int) and isinstance(exponent, int)
    if whole and exponent * base.bit_length() > BITS_AT_MOST:
        raise ToolError("The value is too large.")
    return base**exponent


def _factorial(number: Any) -> int:
    if number > FACTORIAL_AT_MOST:
        raise ToolError("The value is too large.")
    return math.factorial(number)


def tell_time(timezone: str = "") -> str:
    """Date, time and day of the week, here or in a timezone of the IANA's list.

    Raises:
        ToolError: there is no such timezone.
    """
    try:
        now = datetime.now(ZoneInfo(timezone)) if timezone.strip() else datetime.now().astimezone()
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ToolError(
            f"{timezone!r:.60} is no timezone. Expected one such as Asia/Shanghai, or none."
        ) from error
    return now.strftime("%A, %Y-%m-%d %H:%M:%S, UTC%z")


def _function(name: str, description: str, **parameters: str) -> dict[str, Any]:
    named = {key: {"type": "string", "description": text} for key, text in parameters.items()}
    required = [key for key in parameters if key == "expression"]
    schema = {"type": "object", "properties": named, "required": required}
    return {"name": name, "description": description, "parameters": schema}


BUILTIN = (
    Tool(
        _function(
            "calculator",
            "Evaluates an arithmetic expression exactly.",
            expression="e.g. (3 + 4) * 2 ** 10, sqrt(2), factorial(20)",
        ),
        lambda arguments: calculate(str(arguments.get("expression", ""))),
        source="mlx-deepseek",
    ),
    Tool(
        _function(
            "clock",
            "Tells the date, the time and the day of the week.",
            timezone="of the IANA's list, e.g. Asia/Shanghai; empty for this machine's",
        ),
        lambda arguments: tell_time(str(arguments.get("timezone") or "")),
        source="mlx-deepseek",
    ),
)
