"""Properties that nobody listed cannot come, however a schema is put together."""

from collections.abc import Callable
from typing import Any

import pytest

from mlx_deepseek.catalog.embedded import checkpoint_path
from mlx_deepseek.checkpoint.tokenizer import load_tokenizer
from mlx_deepseek.errors import PromptError
from mlx_deepseek.generation.closed_schema import closed
from mlx_deepseek.generation.grammar import Grammars, Thoughts

NUMBER = {"type": "integer"}
A = {"type": "object", "properties": {"a": NUMBER}, "required": ["a"]}
B = {"type": "object", "properties": {"b": NUMBER}, "required": ["b"]}
TO_A, DEFS = {"$ref": "#/$defs/A"}, {"A": A}
NODE = {
    "type": "object",
    "properties": {"v": NUMBER, "next": {"anyOf": [{"$ref": "#/$defs/N"}, {"type": "null"}]}},
    "required": ["v", "next"],
}
KIND_X = {"properties": {"kind": {"const": "x"}, "a": NUMBER}, "required": ["a"]}
KIND_Y = {"properties": {"kind": {"const": "y"}, "b": NUMBER}, "required": ["b"]}


@pytest.fixture(scope="module")
def fits() -> Callable[[Any, str], bool]:
    """Whether the grammar of a schema, closed, takes a text to its end."""
    tokenizer = load_tokenizer(checkpoint_path(), {})
    assert tokenizer is not None
    grammars = Grammars(tokenizer)

    def fits(schema: Any, text: str) -> bool:
        ids = tokenizer.encode(text, add_special_tokens=False)
        matcher = grammars.mask(closed(schema), Thoughts())._matcher
        return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()

    return fits


AB, AB_AND_MORE = '{"a": 1, "b": 2}', '{"a": 1, "b": 2, "c": 3}'


@pytest.mark.parametrize(
    ("schema", "taken", "refused"),
    [
        pytest.param(A, ['{"a": 1}'], [AB], id="plain"),
        pytest.param({"type": "object", "properties": {}}, ["{}"], ['{"a": 1}'], id="nothing"),
        pytest.param({"allOf": [A, B]}, [AB], ['{"a": 1}', AB_AND_MORE], id="all of"),
        pytest.param(
            {"$defs": DEFS, "allOf": [TO_A, B]}, [AB], ['{"b": 1}', AB_AND_MORE], id="inherited"
        ),
        pytest.param({"$defs": DEFS, **TO_A}, ['{"a": 1}'], [AB], id="root is a reference"),
        pytest.param(
            {"$defs": DEFS, **TO_A, "properties": {"b": NUMBER}},
            [AB, '{"a": 1}'],
            [AB_AND_MORE, '{"b": 1}'],
            id="reference beside properties",
        ),
        pytest.param(
            {
                "$defs": DEFS,
                "properties": {"x": TO_A, "y": {"allOf": [TO_A, B]}},
                "required": ["x", "y"],
            },
            [f'{{"x": {{"a": 1}}, "y": {AB}}}'],
            [f'{{"x": {AB}, "y": {AB}}}', f'{{"x": {{"a": 1}}, "y": {AB_AND_MORE}}}'],
            id="one definition alone and as a part",
        ),
        pytest.param(
            {"type": "object", "properties": {"k": NUMBER}, "anyOf": [A, B]},
            ['{"k": 1, "a": 1}', '{"k": 1, "b": 1}', '{"b": 1}'],
            ['{"k": 1, "a": 1, "b": 1}', '{"k": 1, "a": 1, "c": 1}', '{"k": 1}'],
            id="alternatives beside properties",
        ),
        pytest.param(
            {
                "type": "object",
                "properties": {"a": NUMBER, "b": NUMBER},
                "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
            },
            ['{"a": 1}', '{"b": 1}', AB],
            ["{}", AB_AND_MORE],
            id="one of them is required",
        ),
        pytest.param(
            {
                "type": "object",
                "properties": {"kind": {"type": "string"}},
                "required": ["kind"],
                "oneOf": [KIND_X, KIND_Y],
            },
            ['{"kind": "x", "a": 1}', '{"kind": "y", "b": 1}'],
            ['{"kind": "x", "b": 1}', '{"kind": "x", "a": 1, "b": 1}'],
            id="told apart by a kind",
        ),
        pytest.param(
            {"$ref": "#/$defs/N", "$defs": {"N": NODE}},
            ['{"v": 1, "next": {"v": 2, "next": null}}'],
            ['{"v": 1, "next": {"v": 2, "next": null, "c": 3}}'],
            id="recursive",
        ),
        pytest.param(
            {"$ref": "#/$defs/N", "$defs": {"N": {"allOf": [A, NODE]}}},
            ['{"a": 1, "v": 1, "next": {"a": 1, "v": 2, "next": null}}'],
            ['{"a": 1, "v": 1, "next": {"a": 1, "v": 2, "next": null, "c": 3}}'],
            id="recursive all of",
        ),
        pytest.param(
            {"type": "object", "additionalProperties": A},
            ['{"any": {"a": 1}}'],
            ['{"any": {"a": 1, "c": 1}}'],
            id="values of a map",
        ),
        pytest.param(
            {"type": "array", "items": {"allOf": [A, B]}},
            [f"[{AB}]"],
            [f"[{AB_AND_MORE}]"],
            id="items",
        ),
        pytest.param(
            {"allOf": [{"allOf": [A, {"properties": {"z": B}}]}, B]},
            ['{"a": 1, "z": {"b": 1}, "b": 1}'],
            ['{"a": 1, "z": {"b": 1, "c": 1}, "b": 1}', '{"a": 1, "b": 1, "c": 1}'],
            id="all of in all of",
        ),
        pytest.param(
            {"definitions": DEFS, "allOf": [{"$ref": "#/definitions/A"}]},
            ['{"a": 1}'],
            [AB],
            id="pydantic 1",
        ),
        pytest.param(
            {"allOf": [{"type": "string"}, {"maxLength": 3}]},
            ['"abc"'],
            ['"abcd"'],
            id="no objects",
        ),
        pytest.param(
            {"allOf": [A, {"type": "object", "additionalProperties": True}]},
            [AB, '{"a": 1}'],
            ['{"b": 1}'],
            id="open where it says so",
        ),
    ],
)
def test_what_is_listed_may_come_and_nothing_else(fits, schema, taken, refused):
    assert [text for text in taken if not fits(schema, text)] == []
    assert [text for text in refused if fits(schema, text)] == []


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "properties": {"a": {}}, "additionalProperties": True},
        {"type": "object", "properties": {}, "patternProperties": {"x": {}}},
        {"enum": [1, {"properties": {}}]},
        {"const": {"properties": {}}},
        {"type": "array", "items": {"type": "integer"}},
        {"anyOf": [{"type": "null"}, {"type": "string"}]},
        {"type": "object", "properties": {"a": {}}, "unevaluatedProperties": {}},
    ],
)
def test_schemas_that_say_what_else_may_come_are_left_alone(schema):
    assert closed(schema) == schema


@pytest.mark.parametrize(
    "wrong",
    [
        {"properties": {"a": A, "b": {"allOf": [{"$ref": "#/properties/a"}, B]}}},
        {"$ref": "#/$defs/missing", "properties": {"a": NUMBER}},
    ],
)
def test_references_that_cannot_be_followed_are_named(wrong):
    with pytest.raises(PromptError, match=r"\$ref '#/"):
        closed(wrong)


@pytest.mark.parametrize("key", ["if", "not", "dependentSchemas", "unevaluatedProperties"])
def test_what_grammars_do_not_know_is_refused(fits, key):
    with pytest.raises(PromptError, match=key):
        fits({**A, key: {}}, '{"a": 1}')
