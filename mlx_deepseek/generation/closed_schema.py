"""Objects of a JSON schema take only the properties that it lists, unless it says otherwise.

JSON schema allows any others; no one who lists properties wants those, and a model that may invent
properties does not find an end. What several schemas describe together, by `allOf`, by `$ref` with
other keys or by alternatives beside properties, takes the properties that any of them lists, as
`unevaluatedProperties: false` would say, which grammars do not know.
"""

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

from mlx_deepseek.errors import PromptError

# Keywords: schemas by name, schemas of parts, alternatives, and what says which others may come.
MAPS = ("properties", "patternProperties", "$defs", "definitions")
PARTS = ("items", "prefixItems", "additionalProperties")
ALTERNATIVES = ("anyOf", "oneOf")
OPEN = frozenset({"additionalProperties", "patternProperties", "unevaluatedProperties"})
# Beside a reference these make one schema of two.
JOINING = OPEN | {"properties", "allOf", "anyOf", "oneOf"}
DEFINITIONS = ("#/$defs/", "#/definitions/")

Schema = Mapping[str, Any]


def closed(schema: Any) -> Any:
    """The schema with `additionalProperties: false` where it lists properties and says no more.

    Raises:
        PromptError: it joins a reference that leads nowhere, or not to `$defs`, with other schemas.
    """
    if not isinstance(schema, Mapping):
        return schema
    closing = _Closing(schema)
    result = closing.value(schema)
    for table, opened in closing.opened.items():
        result[table] = {**result[table], **opened}
    return result


class _Closing:
    """Closes what stands for a value; parts of one stay open, and so do copies they refer to."""

    def __init__(self, root: Schema):
        self.root = root
        self.opened: dict[str, dict[str, Any]] = {}  # copies of definitions, by table and name

    def value(self, schema: Any, also: Iterable[str] = ()) -> Any:
        """A schema for a value, whose objects have its properties and `also` those."""
        if not isinstance(schema, Mapping):
            return [self.value(one) for one in schema] if isinstance(schema, list) else schema
        also = list(also)
        if "$ref" in schema and not also and not JOINING & schema.keys():
            others = {k: v for k, v in schema.items() if k != "$ref"}
            return self.part(others) | {"$ref": schema["$ref"]}
        names = self.names({k: v for k, v in schema.items() if k not in ALTERNATIVES})
        out = self.part({k: v for k, v in schema.items() if k not in ALTERNATIVES})
        listed = None if names is None else list(dict.fromkeys([*also, *names]))
        for key in ALTERNATIVES:
            if not isinstance(schema.get(key), list):
                continue
            if listed is None:
                out[key] = [self.part(one) for one in schema[key]]
            else:
                others = {k: schema[k] for k in ALTERNATIVES if k in schema and k != key}
                known = [*listed, *(self.names(others) or [])]
                out[key] = [self.value(one, known) for one in schema[key]]
        lists = listed or (listed is not None and "properties" in schema)
        if not lists or any(key in schema for key in ALTERNATIVES):
            return out
        own = out.get("properties", {})
        return out | {
            "properties": {name: own.get(name, {}) for name in listed or ()},
            "additionalProperties": False,
        }

    def part(self, schema: Any) -> Any:
        """A schema that describes a value together with others: open, of closed values."""
        if not isinstance(schema, Mapping):
            return schema
        out: dict[str, Any] = {}
        for key, inner in schema.items():
            if key in MAPS and isinstance(inner, Mapping):
                out[key] = {name: self.value(one) for name, one in inner.items()}
            elif key in PARTS:
                out[key] = self.value(inner)
            elif key in ("allOf", *ALTERNATIVES) and isinstance(inner, list):
                out[key] = [self.part(one) for one in inner]
            elif key == "$ref" and isinstance(inner, str):
                out[key] = self.open_copy(inner)
            else:
                out[key] = inner
        return out

    def names(self, schema: Any, seen: frozenset[str] = frozenset()) -> list[str] | None:
        """Properties that a schema lists, with its parts; None: one says what else may come."""
        if not isinstance(schema, Mapping):
            return []
        if OPEN & schema.keys():
            return None
        found: list[list[str] | None] = [list(schema.get("properties", {}))]
        reference = schema.get("$ref")
        if isinstance(reference, str) and reference not in seen:
            found.append(self.names(self.target(reference), seen | {reference}))
        for key in ("allOf", *ALTERNATIVES):
            parts = schema.get(key)
            found += [self.names(one, seen) for one in parts] if isinstance(parts, list) else []
        known = [names for names in found if names is not None]
        return list(chain(*known)) if len(known) == len(found) else None

    def target(self, reference: str) -> Any:
        """The definition that a reference leads to."""
        table, name = _place(reference)
        definitions = self.root.get(table)
        if not isinstance(definitions, Mapping) or name not in definitions:
            raise PromptError(f"The JSON schema has no definition for $ref {reference!r:.60}.")
        return definitions[name]

    def open_copy(self, reference: str) -> str:
        """A reference to a definition that is not closed, as a part of something larger."""
        table, name = _place(reference)
        copy = f"{name}.open"
        copies = self.opened.setdefault(table, {})
        if copy not in copies:
            copies[copy] = {}  # it may refer to itself
            copies[copy] = self.part(self.target(reference))
        return f"{reference}.open"


def _place(reference: str) -> tuple[str, str]:
    """The table and the name of a definition."""
    for start in DEFINITIONS:
        name = reference.removeprefix(start)
        if name != reference and "/" not in name:
            return start[2:-1], name.replace("~1", "/").replace("~0", "~")
    raise PromptError(
        f"The JSON schema joins $ref {reference!r:.60} with other schemas. Expected a reference to "
        "#/$defs/NAME there; move what it means to $defs."
    )
