"""Answers that are JSON whatever the model would rather say."""

import json

import mlx.core as mx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_deepseek import Caching, Engine, Sampling, load
from mlx_deepseek.cli import main
from mlx_deepseek.errors import PromptError
from mlx_deepseek.generation.grammar import OBJECT, Thoughts, schema_of, unthought
from mlx_deepseek.nano.text.tokenizer import VOCAB
from mlx_deepseek.prompts.special_tokens import THINK_CLOSE, THINK_OPEN

QUESTION = "What is 347 + 586?"
SCHEMA = {
    "type": "object",
    "properties": {
        "answer": {"type": "integer", "minimum": 0, "maximum": 9999},
        "unit": {"enum": ["km", "none"]},
    },
    "required": ["answer", "unit"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "sum", "schema": SCHEMA}}


@pytest.fixture(scope="module")
def engine() -> Engine:
    return load("nano")


def fits(text: str) -> bool:
    value = json.loads(text)
    known = value["unit"] in ("km", "none") and set(value) == {"answer", "unit"}
    return known and 0 <= value["answer"] <= 9999 and isinstance(value["answer"], int)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_sampled_fits_the_schema_and_thinking_is_free(engine, seed):
    hot = Sampling(temperature=1.5, top_p=1.0, seed=seed)
    done = engine.generate(QUESTION, response_format=FORMAT, sampling=hot, max_tokens=600)
    assert done.finish_reason == "stop"
    assert fits(done.text)
    assert not done.reasoning.startswith("{")
    free = engine.generate(QUESTION, sampling=hot, max_tokens=600)
    assert not free.text.startswith("{")


def test_drafts_make_no_difference(tmp_path, monkeypatch):
    monkeypatch.setenv("MLX_DEEPSEEK_CACHE", str(tmp_path))
    drafting, plain = (load("nano", caching=Caching(speculate=n)) for n in (2, 0))
    options = {"response_format": FORMAT, "sampling": Sampling(temperature=1.0, seed=3)}
    first = drafting.generate(QUESTION, **options)
    assert fits(first.text)
    assert plain.generate(QUESTION, **options).text == first.text
    # what the drafter has missed does not harm the next answer
    assert "933" in drafting.generate(QUESTION, sampling=Sampling(temperature=0.0)).text


def test_a_cut_off_answer_goes_on_and_still_fits(engine):
    begun = '{"answer": 93'
    messages = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": begun, "reasoning_content": "7+6", "prefix": True},
    ]
    done = engine.generate(messages, response_format=FORMAT)
    assert fits(begun + done.text)
    messages[1]["content"] = "The answer"
    with pytest.raises(PromptError, match="does not fit the schema"):
        engine.generate(messages, response_format=FORMAT)


def test_the_schema_is_in_the_prompt(engine):
    prompt_format = engine.prompt_format
    asked = [{"role": "user", "content": "x"}]
    assert json.dumps(SCHEMA) in prompt_format.render(asked, json_output=SCHEMA)
    assert "JSON" in prompt_format.render(asked, json_output=True)
    assert "JSON" not in prompt_format.render(asked)


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "xml"},
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {"schema": "object"}},
        {},
    ],
)
def test_another_shape_is_refused(wrong):
    with pytest.raises(PromptError, match="Expected a dict with the type"):
        schema_of(wrong)


def test_a_wrong_schema_is_explained_and_harms_nothing(engine):
    wrong = {"type": "json_schema", "json_schema": {"schema": {"type": "objec"}}}
    with pytest.raises(PromptError, match=r"schema cannot be used: .*objec"):
        engine.generate(QUESTION, response_format=wrong)
    assert fits(engine.generate(QUESTION, response_format=FORMAT).text)
    assert schema_of({"type": "text"}) is None
    assert schema_of({"type": "json_object"}) is OBJECT


def test_properties_that_nobody_listed_cannot_come(engine):
    """README's schema: without this, nano wrote on in a property of its own until it was cut."""
    listed = {"type": "object", "properties": {"answer": {"type": "integer"}}}
    asked = {"type": "json_schema", "json_schema": {"schema": {**listed, "required": ["answer"]}}}
    done = engine.generate(QUESTION, response_format=asked, temperature=0)
    assert done.finish_reason == "stop"
    assert set(done.parsed) == {"answer"}


THOUGHTS = Thoughts(opened=False, opening=7, closing=8)


@given(thought=st.text(alphabet="ab "), said=st.text(alphabet="{}1", min_size=1))
def test_what_of_an_answer_is_json(thought, said):
    whole = f"{THINK_OPEN}{thought}{THINK_CLOSE}\n\n{said}"
    assert unthought(whole, THOUGHTS) == (said, Thoughts())
    assert unthought(f"{THINK_OPEN}{thought}", THOUGHTS) == ("", Thoughts(True, None, 8))
    assert unthought(said, THOUGHTS) == (said, Thoughts(False, None, 8))
    assert unthought("", THOUGHTS) == ("", THOUGHTS)
    assert unthought(thought, Thoughts(True, None, 8)) == ("", Thoughts(True, None, 8))


def test_a_model_that_opens_its_reasoning_itself_may(engine):
    """R1-0528's prompts do not open it; the answer may begin with it or with JSON."""
    grammars = engine.processor._grammars
    opening, closing = (engine.tokenizer.get_vocab()[t] for t in (THINK_OPEN, THINK_CLOSE))
    brace, word = engine.encode("{")[0], engine.encode("word")[0]
    logits = mx.zeros((1, VOCAB))

    def allowed(ids: list[int], token: int) -> bool:
        mask = grammars.mask(SCHEMA, Thoughts(False, opening, closing))
        return bool(mask(mx.array(ids, dtype=mx.int32), logits)[0, token] == 0)

    assert allowed([], opening)
    assert allowed([], brace)
    assert not allowed([], word)
    assert allowed([opening], word)
    assert not allowed([opening, word], engine.tokenizer.eos_token_id)
    assert not allowed([opening, word, closing], word)
    assert allowed([opening, word, closing], brace)
    assert not allowed([brace], opening)


def test_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MLX_DEEPSEEK_CACHE", str(tmp_path))
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    assert (
        main(["generate", "nano", QUESTION, "--schema", str(tmp_path / "schema.json"), "--json"])
        == 0
    )
    assert fits(json.loads(capsys.readouterr().out)["text"])
    assert main(["generate", "nano", QUESTION, "--schema", str(tmp_path / "none.json")]) != 0
    assert "Expected a file with a JSON schema" in capsys.readouterr().err
