"""Grammars of tool calls, in llguidance's Lark dialect: what a model may write when it calls.

Syntax: https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Schema = Mapping[str, Any]
# A blank, or a line that is indented: without a limit a model may write blanks for ever.
BLANKS = {"whitespace_pattern": r" |\n {0,40}"}
NEWLINE = "\n"
DEFINITIONS = ("$defs", "definitions")


@dataclass(frozen=True)
class Offered:
    """A function that may be called, with the schema that its arguments fit.

    `lenient`: keywords of the schema that the grammar does not know are left out.
    """

    name: str
    schema: Schema
    lenient: bool = False


@dataclass
class Rules:
    """The rules of a grammar, each with a name of its own.

    `literal` writes a text in the dialect, the control tokens in it as tokens.
    """

    literal: Callable[[str], str]
    lines: list[str] = field(default_factory=list)

    def add(self, body: str, attributes: str = "") -> str:
        """The name of a new rule."""
        name = f"r{len(self.lines)}"
        self.lines.append(f"{name}{attributes}: {body}")
        return name

    def json(self, schema: Schema, function: Offered | None = None) -> str:
        """A rule for JSON of a schema, which may be a part of a function's."""
        root = function.schema if function else {}
        shared = {key: root[key] for key in DEFINITIONS if key in root}
        guidance = BLANKS | ({"lenient": True} if function and function.lenient else {})
        whole = {**shared, **schema, "x-guidance": guidance}
        return self.add(f"%json {json.dumps(whole, ensure_ascii=False)}")

    def choice(self, names: Sequence[str]) -> str:
        """A rule for one of several."""
        return names[0] if len(names) == 1 else self.add(" | ".join(names))

    def series(self, name: str, between: str, repeated: bool) -> str:
        """What is written for one rule, or for several of it with a text `between` them."""
        joint = f"{self.literal(between)} " if between else ""
        return f"{name} ({joint}{name})*" if repeated else name

    def grammar(self, start: str) -> str:
        """The whole grammar."""
        return "\n".join(["%llguidance {}", f"start: {start}", *self.lines, ""])


@dataclass(frozen=True)
class Tags:
    """The tags of a call whose arguments are written one by one, each without its name."""

    opens: str
    closes: str
    parameter_opens: str
    parameter_closes: str


def tagged_call(rules: Rules, function: Offered, tags: Tags) -> str:
    """A rule for a call with a tag around every argument; they come in the schema's order."""
    listed = function.schema.get("properties")
    listed = listed if isinstance(listed, Mapping) else {}
    needed = function.schema.get("required") or ()
    parts: list[str] = []
    for name, schema in listed.items():
        quoted = rules.literal(f'"{name}"')
        written = _parameter(rules, function, quoted, Kinds.of(schema, function.schema), tags)
        parts.append(written if name in needed else f"({written})?")
    if not listed and function.schema.get("additionalProperties", True):
        name = rules.add('/"[A-Za-z_][A-Za-z0-9_.-]*"/')
        written = _parameter(rules, function, name, Kinds.of({}, {}), tags)
        parts.append(f"({written})*")
    if not any(name in needed for name in listed):  # an empty line where there are none
        parts = [f"({' '.join([*parts, '|', rules.literal(NEWLINE)])})"]
    begin = rules.literal(f'{tags.opens} name="{function.name}">\n')
    return rules.add(" ".join([begin, *parts, rules.literal(tags.closes)]))


def _parameter(rules: Rules, function: Offered, name: str, kinds: "Kinds", tags: Tags) -> str:
    """A rule for one argument and the end of its line: texts as they are, the rest as JSON."""
    close = rules.literal(tags.parameter_closes)
    begin = f"{rules.literal(tags.parameter_opens + ' name=')} {name} "
    text, other = (begin + rules.literal(f' string="{kind}">') for kind in ("true", "false"))
    forms = [f"{text} {rules.literal(one + tags.parameter_closes)}" for one in kinds.texts]
    for pattern in kinds.patterns:
        forms.append(f"{text} {rules.add(f'/{pattern}/', f'[suffix={close}]')}")
    for schema in kinds.others:
        forms.append(f"{other} {rules.json(schema, function)} {close}")
    rule = rules.choice([rules.add(form) for form in forms])
    return rules.add(f"{rule} {rules.literal(NEWLINE)}")


@dataclass(frozen=True)
class Kinds:
    """What a schema allows: certain texts, texts of patterns, and what is no text."""

    texts: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    others: tuple[Schema, ...] = ()

    @staticmethod
    def of(schema: Any, root: Schema) -> "Kinds":
        """What a schema allows whose references are to be found in `root`."""
        schema = _resolved(schema, root)
        for key in ("anyOf", "oneOf"):
            if isinstance(schema.get(key), list) and schema[key]:
                found = [Kinds.of(one, root) for one in schema[key]]
                return Kinds(*(sum(parts, ()) for parts in zip(*map(_parts, found), strict=True)))
        if "const" in schema or isinstance(schema.get("enum"), list):
            values = [schema["const"]] if "const" in schema else schema["enum"]
            others = [value for value in values if not isinstance(value, str)]
            texts = tuple(value for value in values if isinstance(value, str))
            return Kinds(texts, (), ({"enum": others},) if others else ())
        types = schema.get("type") or (
            ANY if not schema.keys() & STRUCTURE else ["object", "array"]
        )
        types = [types] if isinstance(types, str) else list(types)
        rest = [one for one in types if one != "string"]
        patterns = (_pattern(schema.get("pattern")),) if "string" in types else ()
        return Kinds((), patterns, ({**schema, "type": rest},) if rest else ())


ANY = ["string", "number", "boolean", "null", "object", "array"]
STRUCTURE = frozenset({"properties", "items", "additionalProperties", "allOf"})
DEPTH = 32


def _parts(kinds: Kinds) -> tuple[tuple[Any, ...], ...]:
    return kinds.texts, kinds.patterns, kinds.others


def _resolved(schema: Any, root: Schema) -> Schema:
    """A schema in place of a reference to it."""
    for _ in range(DEPTH):
        if not isinstance(schema, Mapping):
            return {}
        path = schema.get("$ref")
        if not (isinstance(path, str) and path.startswith("#/")):
            return schema
        schema = root
        for part in path[2:].split("/"):
            schema = schema.get(part, {}) if isinstance(schema, Mapping) else {}
    return {}


def _pattern(pattern: Any) -> str:
    """A JSON schema's pattern, which may stand anywhere in a text, for the whole of it."""
    if not isinstance(pattern, str):
        return "(?s:.*)"
    before = "" if pattern.startswith("^") else "(?s:.*)"
    ends = pattern.endswith("$") and not pattern.endswith("\\$")
    after = "" if ends else "(?s:.*)"
    inner = pattern.removeprefix("^")
    inner = inner[:-1] if ends else inner
    return f"{before}({inner}){after}".replace("/", "\\/")
