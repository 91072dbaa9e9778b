"""Untrusted text becomes Markdown that only shows it."""

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_deepseek_app.text import JOINER, model_markdown, user_markdown

LIVE = re.compile(r"<[A-Za-z/!?]|!\[")


@given(st.text())
def test_a_users_text_is_shown_character_by_character(text):
    shown = user_markdown(text)
    assert not re.search(r"[!\"$%'()*+,\-./:<=>?@\[\\\]^_`{|}~]", shown)
    assert html.unescape(shown).replace("\u00a0", " ") == re.sub(
        r"(?m)^[ \t]+", lambda gap: gap.group().expandtabs(4), text.replace("\u00a0", " ")
    )


@given(st.text(alphabet="<>!`~$\\()[]abmermaid \n/-"))
def test_no_tag_or_picture_survives_in_a_models_text(text):
    assert not LIVE.search(model_markdown(text))
    assert not re.search(r"(?i)[`~]{3,}[ \t]*mermaid", model_markdown(text))


@pytest.mark.parametrize(
    "attack",
    [
        "<img src=x onerror=alert(1)>",
        "- ```\n  code\n  ```\n<img src=x>\n```",
        "`\n\n<script>alert(1)</script>\n\n`",
        "$$<img src=x>$$",
        "```mermaid\ngraph TD; A[<img src=x>]\n```",
        "![x](http://other.example/x.png)",
        "    ```\n<iframe src=x>",
    ],
)
def test_known_attacks_are_inert(attack):
    shown = model_markdown(attack)
    assert not LIVE.search(shown)
    assert "```mermaid" not in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (r"\(x^2\)", r"\(x^2\)"),
        ("$x^2$ and $y$.", r"\(x^2\) and \(y\)."),
        (r"\[a<b\]", r"$$a\lt b$$"),
        ("$$a\n+b$$", "$$a\n+b$$"),
        ("$5 and $10", "$5 and $10"),
        ("costs $5, not $6", "costs $5, not $6"),
        ("`$x$`", "`$x$`"),
        ("**bold** and `code`", "**bold** and `code`"),
    ],
)
def test_maths_is_recognised_and_money_is_not(text, shown):
    assert model_markdown(text) == shown


def test_code_keeps_its_text():
    code = "```python\nre.match('\\(<b>\\)', f'$${x}')\n```"
    assert model_markdown(code).replace(JOINER, "") == code
    assert "\\(" not in model_markdown(code)
