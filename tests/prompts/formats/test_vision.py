"""Prompts of models that see, as the original code writes them."""

import pytest
from transformers import PreTrainedTokenizerFast

from mlx_deepseek.errors import PromptError
from mlx_deepseek.nano.ocr.tokenizer import build_tokenizer
from mlx_deepseek.prompts import FORMATS, for_checkpoint
from mlx_deepseek.prompts.formats.vision import BEGIN, END, VL_SYSTEM
from tests.image_generation.tiny import drawing_tokenizer
from tests.prompts.test_control_tokens import Letters

BOS, EOS = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
PICTURE = {"type": "image", "image": "a.png"}


def user(*parts):
    return {"role": "user", "content": [*parts]}


def text(words):
    return {"type": "text", "text": words}


def test_vl_has_a_system_prompt_of_its_own():
    asked = [user(PICTURE, text("Describe each stage of this image."))]
    prompt = FORMATS["vl_chat"].render(asked)
    assert prompt == (
        f"{BOS}{VL_SYSTEM}\n\nUser: <image_placeholder>Describe each stage of this image."
        "\n\nAssistant:"
    )
    other = FORMATS["vl_chat"].render([{"role": "system", "content": "Be brief."}, *asked])
    assert other.startswith(f"{BOS}Be brief.\n\nUser: <image_placeholder>")


def test_vl_messages_have_no_blanks_around_them():
    messages = [user(text(" Hi\n")), {"role": "assistant", "content": " Hello. "}, user(text("x "))]
    assert (
        FORMATS["vl_chat"]
        .render(messages)
        .endswith(f"\n\nUser: Hi\n\nAssistant: Hello.{EOS}User: x\n\nAssistant:")
    )


def test_vl2_turns():
    messages = [
        user(PICTURE, text("<|ref|>The giraffe at the back.<|/ref|>.")),
        {"role": "assistant", "content": " Here. "},
        user(text("And this is image_2: "), PICTURE),
    ]
    assert FORMATS["vl2_chat"].render(messages) == (
        f"{BOS}<|User|>: <image>\n<|ref|>The giraffe at the back.<|/ref|>.\n\n<|Assistant|>:"
        f"Here.{EOS}<|User|>: And this is image_2: <image>\n\n<|Assistant|>:"
    )


def test_vl2_answers_are_encoded_apart_from_the_colon_before_them():
    """As the original does, and as they were generated: ":" and "**" are one token together."""
    vl2, pieces = FORMATS["vl2_chat"], []

    class Noting(Letters):
        def encode(self, text, add_special_tokens=True):
            pieces.append(text)
            return super().encode(text, add_special_tokens)

    messages = [user(text("Hi")), {"role": "assistant", "content": "**Bold**"}]
    vl2.render_ids(Noting(), messages)
    assert pieces == [f"{BOS}<|User|>: Hi\n\n<|Assistant|>:", f"**Bold**{EOS}"]
    assert "".join(pieces) == vl2.render(messages)


def test_ocr_takes_one_instruction():
    ocr = FORMATS["ocr"]
    asked = user(PICTURE, text("<|grounding|>Convert the document to markdown."))
    expected = f"{BOS}<image>\n<|grounding|>Convert the document to markdown."
    assert ocr.render([asked]) == expected
    with pytest.raises(PromptError, match="one instruction"):
        ocr.render([{"role": "system", "content": "x"}, asked])


def test_blanks_around_an_instruction_are_left_out():
    """The model card's examples end with one, which the original's code takes away."""
    assert FORMATS["ocr"].render([user(PICTURE, text("Free OCR. "))]).endswith("\nFree OCR.")


def test_instructions_that_are_tokens_of_nano_ocr_stay_tokens():
    tokenizer = build_tokenizer()
    ids = FORMATS["ocr"].render_ids(
        PreTrainedTokenizerFast(tokenizer_object=tokenizer),
        [user(PICTURE, text("<image><image>Free OCR."))],  # two places for one picture: words
    )
    assert [tokenizer.id_to_token(number) for number in ids] == [
        BOS, "<image>", "\n", *"<image>", *"<image>", "Free OCR.",
    ]  # fmt: skip


def test_a_second_question_is_about_the_last_picture():
    ocr = FORMATS["ocr"]
    messages = [
        user(PICTURE, text("Free OCR.")),
        {"role": "assistant", "content": "text"},
        {"role": "user", "content": "Parse the figure."},
    ]
    assert ocr.render(ocr.relevant(messages)) == f"{BOS}<image>\nParse the figure."


@pytest.mark.parametrize(
    ("name", "roles", "shown"),
    [
        ("janus_old", ("User", "Assistant"), f"{BEGIN}<image_placeholder>{END}"),
        ("janus_pro", ("<|User|>", "<|Assistant|>"), f"{BEGIN}<image_placeholder>{END}"),
        # beg_of_und_embed comes in BEGIN's place, and is among the picture's features.
        ("janusflow", ("User", "Assistant"), f"<image_placeholder>{END}"),
    ],
)
def test_janus_turns(name, roles, shown):
    """As `apply_sft_template_for_multi_turn_prompts` and `add_image_token` write them."""
    user_role, assistant_role = roles
    messages = [
        user(PICTURE, text("What is this? ")),
        {"role": "assistant", "content": "A cat."},
        user(text("Are you sure?")),
    ]
    assert FORMATS[name].render(messages) == (
        f"{BOS}{VL_SYSTEM}\n\n{user_role}: {shown}\nWhat is this?\n\n"
        f"{assistant_role}: A cat.{EOS}{user_role}: Are you sure?\n\n{assistant_role}:"
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("janus_old", f"{BOS}User: a cat\n\nAssistant:{BEGIN}"),
        ("janus_pro", f"{BOS}<|User|>: a cat\n\n<|Assistant|>:{BEGIN}"),
        ("janusflow", f"{BOS}User: a cat\n\nAssistant:<｜begin▁of▁generation｜>"),
    ],
)
def test_prompts_to_draw_have_no_system_prompt(name, expected):
    tokenizer = drawing_tokenizer()
    ids = FORMATS[name].drawing_ids(PreTrainedTokenizerFast(tokenizer_object=tokenizer), " a cat\n")
    assert ids == tokenizer.encode(expected, add_special_tokens=False).ids
    assert tokenizer.id_to_token(ids[-1]) == FORMATS[name].begins_drawing


@pytest.mark.parametrize("name", ["vl_chat", "ocr", "v3_chat"])
def test_formats_that_draw_nothing_say_so(name):
    with pytest.raises(PromptError, match="draws no pictures"):
        FORMATS[name].drawing_ids(Letters(), "a cat")


@pytest.mark.parametrize(
    ("repo", "name"),
    [
        ("deepseek-ai/Janus-1.3B", "janus_old"),
        ("deepseek-ai/Janus-Pro-7B", "janus_pro"),
        ("someone/Janus-Pro-mine", "janus_pro"),
        (None, "janus_pro"),
    ],
)
def test_janus_by_its_name(repo, name):
    assert for_checkpoint({}, None, repo, "janus").id == name


@pytest.mark.parametrize(
    ("architecture", "name"),
    [
        ("deepseek_vl", "vl_chat"),
        ("deepseek_vl2", "vl2_chat"),
        ("deepseek_ocr", "ocr"),
        ("deepseek_ocr2", "ocr2"),
        ("janusflow", "janusflow"),
    ],
)
def test_architectures_that_see_have_one_format(architecture, name):
    assert for_checkpoint({}, None, None, architecture).id == name
