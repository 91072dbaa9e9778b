"""Reading Lean's text: what is a comment, a word, a command."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_deepseek.errors import LeanError
from mlx_deepseek.proving.lean_text import WORD, blank, commands


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a -- sorry\nb", "a         \nb"),
        ("a /- /- x -/ sorry -/ b", "a                     b"),
        ("/-/ sorry -/ b", "             b"),
        ('"a -- b" c', "         c"),
        (r'"\"" c', "     c"),
        ("'a' c'", "    c'"),
        ("h' 'x'", "h'    "),
        ('r#"a " b"# c', "           c"),
        ("«a -- b» c", "«a -- b» c"),
    ],
)
def test_comments_strings_and_characters_become_blanks(text: str, seen: str):
    assert blank(text) == seen


@pytest.mark.parametrize(
    "text", ["a /- b", "/- /- -/", '"a', 's!"{x}"', "'\"'", "<--x", 'r#"a"', "exact (<--run_tac x)"]
)
def test_what_lean_could_read_otherwise_is_refused(text: str):
    with pytest.raises(LeanError):
        blank(text)


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet="ab-/\n \"'«»\\!", max_size=30))
def test_blanking_keeps_length_and_lines(text: str):
    try:
        seen = blank(text)
    except LeanError:
        return
    assert len(seen) == len(text)
    assert [i for i, c in enumerate(text) if c == "\n"] == [
        i for i, c in enumerate(seen) if c == "\n"
    ]


def test_words_are_leans_identifiers():
    assert WORD.findall("λx, h₁'.foo «a b».c xᶜsorry") == ["x", "h₁'.foo", "«a b».c", "x", "sorry"]


def test_commands_begin_at_the_margin():
    text = (
        "import A\n\n/-- doc -/\n@[simp]\ntheorem a : True :=\n  trivial\n"
        "open Nat in\nlemma b : 1 = 1 := rfl\nmutual\ndef f := 1\nend\nnamespace X\n"
    )
    found = commands(text)
    assert [c.word for c in found] == ["import", "theorem", "lemma", "mutual", "namespace"]
    assert "".join(c.text for c in found) == text
    assert found[1].text.startswith("/-- doc -/\n@[simp]\ntheorem a")
