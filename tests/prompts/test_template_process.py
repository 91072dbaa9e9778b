"""Chat templates are programs of strangers: bounded, and the engine lives on."""

import pytest

from mlx_deepseek import prompts
from mlx_deepseek.errors import PromptError
from mlx_deepseek.prompts.template_process import TemplateProcess

ONE = [{"role": "user", "content": "Hi"}]


@pytest.fixture(scope="module")
def process():
    found = TemplateProcess(timeout_s=3.0)
    yield found
    found.close()


DOUBLES = "{% set n = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(60) %}"


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        DOUBLES + "{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
        "{{ 'a' * 10**12 }}",
        "{{ [1] * 10**9 }}",
        "{{ 10 ** (10 ** 10) }}",
        "{{ 'a'.center(10 ** 10) }}",
        "{{ '%0999999999999d' % 3 }}",
        "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
        "{% for i in range(90000) %}{{ 'x' * 999 }}{% endfor %}",
        "{{ range(10**9) | list }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ 1 / 0 }}",
        "{% if %}",
    ],
)
def test_what_never_ends_or_wants_everything_is_refused(process, source):
    with pytest.raises(PromptError, match="chat template"):
        process.render(source, {})
    assert process.render("{{ a }}", {"a": "still here"}) == "still here"


def test_any_text_passes(process):
    text = '\ud800 half, \0, \ue000, \U0001f600, \u2028 "quoted" \\ end'
    assert process.render("{{ a }}", {"a": text}) == text


def test_a_fine_tune_with_pictures_has_its_own_template():
    source = (
        "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{% if m.content is string %}"
        "{{ m.content }}{% else %}{% for part in m.content %}{% if part.type == 'image' %}<image>"
        "{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}{% endfor %}[assistant]"
    )
    config = {"chat_template": source}
    tuned = prompts.for_checkpoint({}, config, "somebody/tuned-vl2", "deepseek_vl2")
    parts = [{"type": "image", "image": "a.png"}, {"type": "text", "text": "What?"}]
    rendered = tuned.prompt([{"role": "user", "content": parts}])
    assert rendered.text.endswith("[user]<image>\nWhat?[assistant]")
    assert rendered.pictures == ("a.png",)
    assert tuned.render(ONE).endswith("[user]Hi[assistant]")
    released = prompts.for_checkpoint({}, config, "deepseek-ai/deepseek-vl2", "deepseek_vl2")
    assert "<|User|>" in released.render(ONE)
    blind = prompts.for_checkpoint({}, {"chat_template": "x"}, "somebody/tuned", "deepseek_vl2")
    assert "<|User|>" in blind.render(ONE)
