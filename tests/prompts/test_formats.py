"""Each format's text against the templates and renderings that the checkpoints ship."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_deepseek import prompts
from mlx_deepseek.errors import PromptError
from mlx_deepseek.prompts.formats import coder, plain_text, r1
from mlx_deepseek.prompts.formats.shipped_template import with_template
from mlx_deepseek.prompts.messages import check
from mlx_deepseek.prompts.special_tokens import BOS, EOS
from mlx_deepseek.prompts.template_sandbox import compile_template

HERE = Path(__file__).parent
RENDERED = json.loads((HERE / "rendered.json").read_text(encoding="utf-8"))
TEMPLATES = {p.stem: p.read_text(encoding="utf-8") for p in (HERE / "templates").glob("*.jinja")}

ONE = [{"role": "user", "content": "Hi"}]
TWO = [
    {"role": "system", "content": "SYS"},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello!"},
    {"role": "user", "content": "1+1=?"},
]
REASONED = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello!"},
    {"role": "user", "content": "and?"},
]
CALLS = [
    {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
    {"id": "2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
]
CALLING = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "", "tool_calls": CALLS},
    {"role": "tool", "content": "one"},
    {"role": "tool", "content": "two"},
]
ANSWERED = [*CALLING, {"role": "assistant", "content": "done"}, {"role": "user", "content": "x"}]

# Published templates that only close the calls, or only know them, when content is null.
NULL_CONTENT = {"v25_chat", "v3_chat", "r1_chat"}


@pytest.mark.parametrize(
    ("format_id", "name"), [(f, n) for f, names in RENDERED.items() for n in names]
)
def test_renderings_of_the_catalog(format_id, name):
    messages = ONE if name == "one_turn" else TWO
    text = prompts.get(format_id).render(messages, thinking=name.endswith("thinking"))
    # V2.5's published template writes blanks before BOS when there is a system prompt.
    assert text == RENDERED[format_id][name].lstrip(" ")


@pytest.mark.parametrize("thinking", [False, True])
@pytest.mark.parametrize("format_id", TEMPLATES)
def test_our_turns_equal_the_shipped_template(format_id, thinking):
    own = prompts.get(format_id)
    if thinking and own.thinking != "optional":
        thinking = own.thinks(None)
    template = with_template(own, TEMPLATES[format_id])
    conversations = [ONE, TWO, REASONED] + ([CALLING, ANSWERED] if own.tools else [])
    for messages in conversations:
        messages = check(messages)
        theirs = [
            {**m, "content": None} if m.get("tool_calls") and format_id in NULL_CONTENT else dict(m)
            for m in messages
        ]
        rendered = compile_template(template.source).render(
            messages=theirs,
            add_generation_prompt=True,
            thinking=thinking,
            bos_token=BOS,
            eos_token=EOS,
        )
        assert own.turns(messages, thinking, True) == rendered.lstrip(" ")


@pytest.mark.parametrize("format_id", TEMPLATES)
def test_a_template_alone_tells_the_format(format_id):
    recognised = prompts.get(prompts.recognise(TEMPLATES[format_id]))
    own = prompts.get(format_id)
    assert recognised.thinking == own.thinking
    assert recognised.stop == own.stop
    for messages in (ONE, TWO):
        assert recognised.render(messages) == own.render(messages)


# Their templates lose or leave open what ours writes properly.
FAULTY = {"v25_chat", "v3_chat", "r1_chat", "r1_distill", "r1_0528_chat"}


@st.composite
def conversations(draw, tools: bool):
    """Any sequence of turns a client may send, calls with all their results included."""
    messages = draw(st.sampled_from([[], [{"role": "system", "content": "SYS"}]]))
    for content in draw(st.lists(st.sampled_from(["Hi", "x\ny", ""]), min_size=1, max_size=3)):
        messages = [*messages, {"role": "user", "content": content}]
        answer = {"role": "assistant", "content": draw(st.sampled_from(["ok", "a</think>b"]))}
        match draw(st.sampled_from(["silence", "answer", "calls"] if tools else ["answer"])):
            case "answer":
                messages.append(answer)
            case "calls":
                calls = CALLS[: draw(st.integers(1, 2))]
                said = draw(st.sampled_from(["", "let me see"]))
                messages.append({"role": "assistant", "content": said, "tool_calls": calls})
                messages += [{"role": "tool", "content": call["id"]} for call in calls]
                messages += [answer] if draw(st.booleans()) else []
                if messages[-1]["role"] == "tool":
                    break
    return messages


@pytest.mark.parametrize("format_id", sorted(TEMPLATES.keys() - FAULTY))
@given(data=st.data(), thinking=st.booleans(), generate=st.booleans())
@settings(max_examples=40, deadline=None)
def test_any_conversation_equals_the_shipped_template(format_id, data, thinking, generate):
    own = prompts.get(format_id)
    messages = data.draw(conversations(own.supports_tools))
    thinking = own.thinks(thinking)
    rendered = compile_template(TEMPLATES[format_id]).render(
        messages=messages,
        add_generation_prompt=generate,
        thinking=thinking,
        bos_token=BOS,
        eos_token=EOS,
    )
    assert own.turns(check(messages), thinking, generate) == rendered


def test_r1_0528_introduces_tools_as_its_template_does():
    own = prompts.get("r1_0528_chat")
    tools = [
        {"type": "function", "function": {"name": name, "description": "größer <&>"}}
        for name in ("f", "g")
    ]
    template = compile_template(TEMPLATES["r1_0528_chat"])
    for messages in (ONE, TWO):
        assert own.render(messages, tools=tools) == template.render(
            messages=messages, tools=tools, add_generation_prompt=True, bos_token=BOS
        )


def test_base_models_refuse_chat_although_v3_base_ships_a_template():
    config = {"chat_template": TEMPLATES["v3_chat"]}
    found = prompts.for_checkpoint({}, config, "deepseek-ai/DeepSeek-V3-Base")
    assert not found.supports_chat
    with pytest.raises(PromptError, match="base model"):
        found.render(ONE)


def test_the_default_of_several_named_templates_counts():
    named = [
        {"name": "tool_use", "template": "no"},
        {"name": "default", "template": TEMPLATES["r1_distill"]},
    ]
    found = prompts.for_checkpoint({}, {"chat_template": named}, "somebody/own-finetune")
    assert found.id == "r1_chat"
    assert found.render(ONE) == f"{BOS}<｜User｜>Hi<｜Assistant｜><think>\n"


@pytest.mark.parametrize("source", ["{{ 1 / 0 }}", "{{ messages.nothing.at.all }}", "{% if %}"])
def test_failing_templates_are_prompt_errors(source):
    with pytest.raises(PromptError, match="template"):
        with_template(prompts.get("v3_chat"), source).render(ONE)


def test_a_shipped_template_renders_and_ours_reads():
    config = {"chat_template": TEMPLATES["r1_chat"]}
    found = prompts.for_checkpoint({}, config, "deepseek-ai/DeepSeek-R1")
    assert found.render(ONE) == f"{BOS}<｜User｜>Hi<｜Assistant｜><think>\n"
    assert found.reasoning_open()
    assert found.parser().feed("so</think>yes").reasoning == "so"


def test_a_single_tool_call_is_closed_although_the_shipped_template_forgets():
    found = prompts.for_checkpoint({}, {"chat_template": TEMPLATES["v25_chat"]}, "DeepSeek-V2.5")
    one = [CALLING[0], {**CALLING[1], "tool_calls": CALLS[:1]}, CALLING[2]]
    assert "<｜tool▁calls▁end｜><｜end▁of▁sentence｜><｜tool▁outputs▁begin｜>" in found.render(one)


def test_templates_cannot_reach_python():
    evil = "{{ messages.__class__.__mro__[1].__subclasses__() }}"
    with pytest.raises(PromptError):
        with_template(prompts.get("v3_chat"), evil).render(ONE)


def test_v31_thinks_on_request():
    v31 = prompts.get("v31_chat")
    assert v31.render(ONE).endswith("<｜Assistant｜></think>")
    assert v31.render(ONE, thinking=True).endswith("<｜Assistant｜><think>")
    assert v31.reasoning_open(True)
    assert not v31.reasoning_open(False)


def test_v31_search_agent_continues_its_reasoning_after_results():
    text = prompts.get("v31_chat").render(CALLING, thinking=True)
    assert text.endswith("<｜tool▁output▁begin｜>two<｜tool▁output▁end｜>")


def test_tools_are_described_in_the_system_prompt():
    tools = [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {}}}]
    bare = prompts.get("v31_chat").render(TWO, tools=tools)
    assert bare.startswith(
        f"{BOS}SYS\n\n## Tools\nYou have access to the following tools:\n\n### f"
    )
    fenced = prompts.get("v3_0324_chat").render(ONE, tools=tools)
    assert fenced.startswith(f"{BOS}## Tools\n\n### Function\n\nYou have the following functions")
    for more in ({"messages": ONE, "tools": tools}, {"messages": CALLING}):
        with pytest.raises(PromptError, match="no tool calls"):
            prompts.get("llm_v1_chat").render(**more)


def test_json_output_is_requested_as_documented():
    text = prompts.get("v25_chat").render(TWO, json_output=True)
    assert text.startswith(
        f"{BOS}SYS\n\n## Response Format\n\nReply with JSON object ONLY.<｜User｜>"
    )


def test_fill_in_the_middle():
    text = prompts.get("coder_v1_base").fim("def f(", "return 1")
    assert text == f"{BOS}<｜fim▁begin｜>def f(<｜fim▁hole｜>return 1<｜fim▁end｜>"
    with pytest.raises(PromptError, match="fill-in-the-middle"):
        prompts.get("r1_chat").fim("a", "b")


def test_repository_completion():
    text = coder.repository([("a.py", "A = 1\n"), ("b.py", "from a import")])
    assert text == f"{BOS}#a.py\nA = 1\n\n\n#b.py\nfrom a import"


def test_math_asks_for_steps_in_both_languages():
    assert plain_text.step_by_step("1+1?").endswith("within \\boxed{}.")
    assert "\\boxed{}中" in plain_text.step_by_step("1+1?", "zh")


def test_r1_pieces():
    assert r1.with_file("a.txt", "X", "Why?").startswith(
        "[file name]: a.txt\n[file content begin]\nX"
    )
    assert prompts.get("r1_zero").render(ONE).endswith("User: Hi. Assistant:")


def test_base_models_refuse_chat_and_say_what_to_do():
    with pytest.raises(PromptError, match="chat or instruct variant"):
        prompts.get("completion").render(ONE)


def test_text_parts_and_developer_messages():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = [{"role": "developer", "content": "SYS"}, {"role": "user", "content": parts}]
    assert prompts.get("v3_chat").render(messages) == f"{BOS}SYS<｜User｜>ab<｜Assistant｜>"
