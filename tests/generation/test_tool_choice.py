"""Calls that are enforced: whatever a model would rather write, they are read and fit."""

import json
import random

import mlx.core as mx
import numpy as np
import pytest

import mlx_deepseek as ds
from mlx_deepseek import prompts
from mlx_deepseek.errors import PromptError
from mlx_deepseek.generation.grammar import Grammars, Thoughts
from mlx_deepseek.generation.tool_choice import tool_choice
from mlx_deepseek.prompts.parser import Delta

FORMATS = ("v25_chat", "r1_0528_chat", "v31_chat", "v32_chat", "v4_chat", "v41_chat")
PROPERTIES = {
    "unit": {"type": "string", "enum": ["C", "F"]},
    "days": {"type": "integer", "minimum": 1, "maximum": 7},
    "exact": {"type": ["boolean", "null"]},
    "code": {"type": "string", "pattern": "^[a-c]{2}$"},
    "near": {"anyOf": [{"$ref": "#/$defs/place"}, {"const": "here"}]},
}
PLACE = {
    "type": "object",
    "properties": {"x": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["x"],
}
WEATHER = {
    "name": "get_weather",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": PROPERTIES,
        "required": ["unit", "days", "near"],
        "additionalProperties": False,
        "$defs": {"place": PLACE},
    },
}
PING = {"name": "ping", "parameters": {"type": "object", "properties": {}}}
ADD = {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
SMALL = [{"type": "function", "function": ADD}]  # nano's window is small
TOOLS = [{"type": "function", "function": one} for one in (WEATHER, PING)]


@pytest.fixture(scope="module")
def engine():
    with ds.load("nano") as engine:
        yield engine


@pytest.fixture(scope="module")
def grammars(engine):
    return Grammars(engine.processor.tokenizer)


def call(name, **arguments):
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def rendered(markup, calls):
    shaped = [
        one
        if markup.by_value
        else call(one["function"]["name"])
        | {"function": {**one["function"], "arguments": json.dumps(one["function"]["arguments"])}}
        for one in calls
    ]
    return markup.calls(shaped)


def mask_of(grammars, name, choice="required", parallel=None):
    markup = prompts.get(name).tools
    rules = grammars.rules()
    start = tool_choice(TOOLS, choice, parallel).rule(rules, markup)
    return grammars.rules_mask(rules, start, Thoughts())


def allowed(mask, tokenizer, tokens):
    """Of tokens one by one, whether each may come."""
    logits = mx.zeros((1, tokenizer.size))
    for place, token in enumerate(tokens):
        masked = mask(mx.array(tokens[:place], dtype=mx.int32), logits)
        if masked[0, token].item() == -np.inf:
            return False
    return True


CALL = call("get_weather", unit="F", days=3, exact=None, code="ab", near="here")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("calls", "fits"),
    [
        ([CALL], True),
        ([CALL, call("ping"), CALL], True),
        ([call("get_weather", unit="C", days=7, near={"x": 9})], True),
        ([call("get_weather", unit="K", days=3, near="here")], False),
        ([call("get_weather", unit="C", days=8, near="here")], False),
        ([call("get_weather", unit="C", near="here")], False),
        ([call("get_weather", unit="C", days=3, code="ad", near="here")], False),
        ([call("get_weather", unit="C", days=3, near="there")], False),
        ([call("other")], False),
    ],
)
def test_what_a_format_renders_is_what_its_grammar_takes(engine, grammars, name, calls, fits):
    tokenizer = engine.processor.tokenizer
    text = rendered(prompts.get(name).tools, calls)
    tokens = [*tokenizer.encode(text), tokenizer.eos_token_id]
    assert allowed(mask_of(grammars, name), tokenizer, tokens) == fits


def test_one_call_where_there_may_be_no_several(engine, grammars):
    tokenizer = engine.processor.tokenizer
    for name in FORMATS:
        markup = prompts.get(name).tools
        for calls in ([call("ping")], [call("ping"), call("ping")]):
            tokens = [*tokenizer.encode(rendered(markup, calls)), tokenizer.eos_token_id]
            mask = mask_of(grammars, name, parallel=False)
            assert allowed(mask, tokenizer, tokens) == (len(calls) == 1)


@pytest.mark.parametrize("name", FORMATS)
def test_a_model_that_writes_anything_writes_calls(engine, grammars, name):
    tokenizer = engine.processor.tokenizer
    chance = np.random.default_rng(random.Random(name).randrange(1 << 30))
    chosen = tool_choice(TOOLS, {"type": "function", "function": {"name": "get_weather"}})
    rules = grammars.rules()
    start = chosen.rule(rules, prompts.get(name).tools)
    for _ in range(3):
        mask = grammars.rules_mask(rules, start, Thoughts())
        tokens, parser = [], prompts.get(name).parser(False)
        while len(tokens) < 20_000:
            logits = mx.array(chance.gumbel(size=(1, tokenizer.size)))
            token = int(mx.argmax(mask(mx.array(tokens, dtype=mx.int32), logits)).item())
            if token in tokenizer.eos_token_ids:
                break
            tokens.append(token)
        text = tokenizer.decode(tokens)
        delta = parser.feed(text) + parser.finish()
        assert delta.text.strip() == ""
        assert delta.tool_calls
        for one in delta.tool_calls:
            assert one.name == "get_weather"
            fits(json.loads(one.arguments))


def fits(arguments):
    assert set(arguments) >= {"unit", "days", "near"}
    assert set(arguments) <= set(PROPERTIES)
    assert arguments["unit"] in ("C", "F")
    assert 1 <= arguments["days"] <= 7
    assert arguments["near"] == "here" or 0 <= arguments["near"]["x"] <= 9
    assert arguments.get("exact") in (None, True, False)


def test_a_model_must_call(engine):
    asked = [{"role": "user", "content": "What is 347 + 586?"}]
    for pieces in (False, True):
        one = {"tool_choice": "required", "parallel_tool_calls": False}
        chunks = list(engine.stream(asked, tools=SMALL, call_pieces=pieces, **one))
        assert chunks[-1].finish_reason == "tool_calls"
        calls = [one for chunk in chunks for one in chunk.tool_calls]
        parts = [one for chunk in chunks for one in chunk.call_pieces]
        assert bool(calls) != pieces
        assert bool(parts) == pieces
        if pieces:
            assert "".join(part.arguments for part in parts if part.arguments).startswith("{")
            assert sum(bool(part.name) for part in parts) < len(parts)


def test_strict_tools_bind_a_model_only_where_it_calls(engine):
    asked = [{"role": "user", "content": "What is 347 + 586?"}]
    strict = [{"type": "function", "function": {**ADD, "strict": True}}]
    assert engine.generate(asked, tools=strict, temperature=0).tool_calls == ()
    tokenizer = engine.processor.tokenizer
    markup = engine.prompt_format.tools
    for calls, right in (([CALL], True), ([call("get_weather", unit="K")], False)):
        tokens = tokenizer.encode("Let me see. " + rendered(markup, calls))
        mask = engine.processor.mask(None, engine.processor.encode(asked), tool_choice(TOOLS))
        assert allowed(mask, tokenizer, [*tokens, tokenizer.eos_token_id]) == right


def test_no_call_where_none_may_be(engine):
    parser = engine.prompt_format.parser(calls=False)
    text = rendered(engine.prompt_format.tools, [call("ping")])
    assert parser.feed("</think>" + text) + parser.finish() == Delta(text=text)
    assert tool_choice(TOOLS, "none") is None


@pytest.mark.parametrize(
    ("tools", "choice"),
    [
        (TOOLS, "sometimes"),
        (TOOLS, {"type": "function"}),
        (TOOLS, {"type": "function", "function": {"name": "missing"}}),
        ((), "required"),
        ([{"type": "function", "function": {}}], None),
    ],
)
def test_a_wrong_choice_is_told(tools, choice):
    with pytest.raises(PromptError, match="tool"):
        tool_choice(tools, choice)
