"""A conversation that comes back has the tokens that were sampled, whatever the tokenizer says."""

import pytest

from mlx_deepseek import load
from mlx_deepseek.generation.written import WrittenTokens


def letters(text: str) -> list[int]:
    return [ord(letter) for letter in text]


def test_the_longest_known_beginning():
    written = WrittenTokens()
    assert written.encode("abc", letters) == letters("abc")
    written.note("ab", [1])
    written.note("abcd", [1, 2])
    assert written.encode("abcde", letters) == [1, 2, ord("e")]
    assert written.encode("abce", letters) == [1, *letters("ce")]
    assert written.encode("xabcd", letters) == letters("xabcd")
    written.note("é\ud800", [7])  # a guard is no character
    assert written.encode("é\ud800x", letters) == [7, ord("x")]


def test_the_oldest_are_forgotten():
    written = WrittenTokens(most_tokens=4)
    written.note("a", [1, 2])
    written.note("b", [3, 4])
    written.encode("a", letters)
    written.note("c", [5])
    assert written.encode("a", letters) == [1, 2]
    assert written.encode("b", letters) == letters("b")


@pytest.fixture(scope="module")
def engine():
    return load("nano")


def test_a_second_turn_repeats_what_was_sampled(engine, monkeypatch):
    """The model is made to write letter by letter, which its tokenizer would not."""
    fmt = engine.prompt_format
    turn = [{"role": "user", "content": "Reverse the word planet"}]
    prompt = engine.processor.encode(turn)
    answer = "</think>tenalp" + fmt.stop[0] if fmt.stop else "</think>tenalp"
    eos = engine.tokenizer.eos_token_id
    spelled = [engine.encode(letter)[0] for letter in "tenalp"]
    closing = engine.encode("</think>")
    sampled = [*closing, *spelled, eos]
    assert engine.processor.tokenizer.decode(sampled).startswith("</think>tenalp"), answer
    assert engine.encode("tenalp") != spelled
    engine.processor.note(prompt, sampled)
    text = prompt.rendered.text + engine.processor.tokenizer.decode(sampled)
    ids = engine.processor._written.encode(text + "more", engine.encode)
    assert ids == [*prompt.ids, *sampled, *engine.encode("more")]
