"""DeepSeek's own library as judge: what a model wrote, as streams of three APIs; and its prompts.

The same output of a model goes through both; the chunks must be the same but for ids and times, and
for how finely the arguments of a call are cut.
"""

import asyncio
import json

import pytest

from mlx_deepseek import prompts
from mlx_deepseek.generation.results import Chunk, Usage
from mlx_deepseek.generation.tool_choice import described
from mlx_deepseek_app.server.api.anthropic import MessagesRequest
from mlx_deepseek_app.server.api.anthropic_writer import MessageWriter
from mlx_deepseek_app.server.api.openai_chat import ChatRequest
from mlx_deepseek_app.server.api.openai_chat_writer import DeepSeekChatWriter
from mlx_deepseek_app.server.api.openai_responses import ResponsesRequest
from mlx_deepseek_app.server.api.responses_items import Tools
from mlx_deepseek_app.server.api.responses_writer import ResponseWriter
from mlx_deepseek_app.server.events import EventReader
from mlx_deepseek_app.server.models_loaded import NamedModel
from mlx_deepseek_app.server.settings import ServerSettings

oracle = pytest.importorskip("deepseek_recipe")

MODEL = "DeepSeek-V4-Pro"
D = "｜DSML｜"
CALLS = (
    f'\n\n<{D}tool_calls>\n<{D}invoke name="add">\n<{D}parameter name="a" string="false">12'
    f'</{D}parameter>\n<{D}parameter name="b" string="true">x "y"\n</{D}parameter>\n</{D}invoke>\n'
    f'<{D}invoke name="add">\n<{D}parameter name="b" string="true"></{D}parameter>\n</{D}invoke>\n'
    f"</{D}tool_calls>"
)
OUTPUTS = {
    "text": ("Let me think.</think>Hello there", False),
    "calls": (f"Let me think.</think>{CALLS}", False),
    "text and calls": (f"Let me think.</think>I will add.{CALLS}", False),
    "cut off": ("Let me think.</think>Hello th", True),
    "no thoughts": ("</think>Hello", False),
}
FUNCTION = {
    "name": "add",
    "description": "Adds.",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
}
ASKED = [{"role": "user", "content": "Hi"}]
CHAT = {"tools": [{"type": "function", "function": FUNCTION}], "messages": ASKED}
ANTHROPIC_TOOL = {"name": "add", "description": "Adds.", "input_schema": FUNCTION["parameters"]}
MESSAGES = {
    "max_tokens": 99,
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "tools": [ANTHROPIC_TOOL],
    "messages": ASKED,
}
RESPONSES = {"input": "Hi", "tools": [{"type": "function", **FUNCTION, "strict": False}]}


class Site:
    """What requests ask of a server."""

    settings = ServerSettings()

    class models:
        @staticmethod
        def named(name):
            return NamedModel(name, name)


def pieces(text):
    return [text[at : at + 3] for at in range(0, len(text), 3)]


def judged(kind, body, text, cut):
    """What DeepSeek's library writes, as JSON objects."""
    request, response = {
        "chat": (oracle.ChatCompletionRequest, oracle.ChatCompletionResponse),
        "messages": (oracle.MessagesRequest, oracle.MessagesResponse),
        "responses": (oracle.ResponsesRequest, oracle.ResponsesResponse),
    }[kind]
    converted = request(body).convert(oracle.ConversionOptions())
    writer = request.chunk_generator(converted, "ID", MODEL)
    if kind == "responses":
        writer = writer.with_echo(request(body).echo())
    process = oracle.StreamProcessor(writer, converted.parsing_options)
    counts = oracle.PromptUsage(prompt_tokens=10, prompt_cache_hit_tokens=4)
    chunks = process.push(oracle.InferenceChunk.ready(prompt_usage=counts))
    for piece in pieces(text):
        chunks += process.push(oracle.InferenceChunk.text(piece, 1))
    reason = oracle.InferenceFinishReason
    chunks += process.push(oracle.InferenceChunk.finish(reason.Length if cut else reason.Stop))
    chunks += process.finish()
    whole = response("ID", MODEL, 1, 10, 4)
    shown = []
    for chunk in chunks:
        shown.append((response.sse_event_name(chunk), json.loads(chunk.to_json())))
        whole.accumulate(chunk)
    return shown, json.loads(whole.to_json())


async def events(text, cut):
    """What this project makes of the same output."""
    parser = prompts.get("v4_chat").parser(True, in_pieces=True)
    reader, called, written = EventReader(), False, 0
    for piece in [*pieces(text), None]:
        delta = parser.finish() if piece is None else parser.feed(piece)
        called = called or bool(delta.call_pieces)
        written += piece is not None
        reason = None if piece else "length" if cut else "tool_calls" if called else "stop"
        usage = Usage(prompt_tokens=10, cached_tokens=4, completion_tokens=written)
        chunk = Chunk(delta.text, delta.reasoning, (), usage, reason)
        for event in reader.read(Chunk(**{**chunk.__dict__, "call_pieces": delta.call_pieces})):
            yield event


def written(pieces_of):
    async def read():
        return "".join([piece async for piece in pieces_of])

    found = []
    for block in asyncio.run(read()).strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n"))
        if lines["data"] != "[DONE]":
            found.append((lines.get("event"), json.loads(lines["data"])))
    return found


def plain(value):
    """Without ids, times and what names this server; consecutive pieces of arguments are one."""
    if isinstance(value, dict):
        return {
            key: "ID" if key in NAMES and isinstance(inner, str) else plain(inner)
            for key, inner in value.items()
            if key not in LEFT_OUT
        }
    return [plain(inner) for inner in value] if isinstance(value, list) else value


NAMES = ("id", "call_id", "item_id", "signature", "encrypted_content", "model")
LEFT_OUT = (
    "created", "created_at", "completed_at", "system_fingerprint", "completion_tokens_details",
    "sequence_number", "refusal",
    # of Anthropic's and OpenAI's schemas, which DeepSeek's library leaves out
    "stop_details", "container", "cache_creation", "output_tokens_details", "server_tool_use",
    "inference_geo", "caller", "citations", "verbosity",
    # of OpenAI's, which this server does not know
    "content_filters", "moderation", "prompt_cache_retention",
)  # fmt: skip


def joined(chunks):
    """Chunks whose consecutive pieces of text, or of one call's arguments, are one chunk."""
    found = []
    for name, chunk in chunks:
        chunk = plain(chunk)
        last = found[-1][1] if found else {}
        if not _extend(last, chunk):
            found.append((name, chunk))
    return found


def _extend(last, chunk):
    for where in (_chat_piece, _messages_piece, _responses_piece):
        old, new = where(last), where(chunk)
        if old and new and old[:-1] == new[:-1]:
            holder, key = old[-1]
            source, _ = new[-1]
            holder[key] += source[key]
            return True
    return False


def _chat_piece(chunk):
    delta = chunk.get("choices", [{}])[0].get("delta", {}) if "choices" in chunk else {}
    if chunk.get("choices", [{}])[0].get("finish_reason") if "choices" in chunk else True:
        return None
    for key in ("content", "reasoning_content"):
        if delta.get(key) and "role" not in delta:
            return key, (delta, key)
    calls = delta.get("tool_calls")
    if calls and "id" not in calls[0]:
        return "call", calls[0]["index"], (calls[0]["function"], "arguments")
    return None


def _messages_piece(chunk):
    delta = chunk.get("delta")
    if chunk.get("type") != "content_block_delta" or delta["type"] == "signature_delta":
        return None
    key = next(key for key in delta if key != "type")
    return delta["type"], chunk["index"], (delta, key)


def _responses_piece(chunk):
    if not str(chunk.get("type")).endswith(".delta") or not isinstance(chunk.get("delta"), str):
        return None
    return chunk["type"], chunk["output_index"], (chunk, "delta")


@pytest.mark.parametrize("output", OUTPUTS)
def test_chat_chunks(output):
    text, cut = OUTPUTS[output]
    body = {"model": MODEL, "stream": True, **CHAT}
    expected, whole = judged("chat", body, text, cut)

    async def numbered():
        async for event in events(text, cut):
            yield 0, event

    ours = written(DeepSeekChatWriter(MODEL).stream(numbered(), False))
    if output == "no thoughts":  # nobody knows before the first word that there are none
        expected = [(name, without_reasoning(chunk)) for name, chunk in expected]
    assert joined(ours) == joined(expected)
    assert whole["choices"][0]["finish_reason"] == ours[-1][1]["choices"][0]["finish_reason"]


def without_reasoning(chunk):
    delta = chunk["choices"][0]["delta"]
    if delta.pop("reasoning_content", None) is not None:
        delta["content"] = delta["content"] or ""
    return chunk


@pytest.mark.parametrize("output", OUTPUTS)
def test_messages_events(output):
    text, cut = OUTPUTS[output]
    expected, _ = judged("messages", {"model": MODEL, "stream": True, **MESSAGES}, text, cut)
    ours = written(MessageWriter(MODEL).stream(events(text, cut)))
    expected = [one for one in expected if one[0] != "ping"]
    if output == "no thoughts":
        expected = [one for one in expected if one[1].get("index") != 0]
        for _, value in expected:
            value.update({"index": 0} if "index" in value else {})
    for found in (ours, expected):  # how many tokens there are at the start is not said alike
        found[0][1]["message"]["usage"]["output_tokens"] = 0
    assert joined(ours) == joined(expected)


@pytest.mark.parametrize("output", [name for name in OUTPUTS if name != "no thoughts"])
def test_responses_events(output):
    text, cut = OUTPUTS[output]
    body = {"model": MODEL, "stream": True, "store": False, **RESPONSES}
    expected, _ = judged("responses", body, text, cut)
    request, tools = ResponsesRequest.model_validate(body), Tools()
    tools.add(request.tools or ())
    ask = request.ask(Site, request.messages(Site), tools)
    writer = ResponseWriter(request.echo(ask), tools, lambda _: None)
    assert joined(written(writer.stream(events(text, cut)))) == joined(expected)


CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]},
    {
        "role": "assistant",
        "content": "I add.",
        "reasoning_content": "T",
        "tool_calls": [
            {
                "id": "c1",
                "type": "function",
                "function": {"name": "add", "arguments": '{"a": 1, "b": "x"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "R"},
]
ANTHROPIC_CONVERSATION = [
    {"role": "user", "content": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]},
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "T", "signature": "s"},
            {"type": "text", "text": "I"},
            {"type": "text", "text": "add."},
            {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1, "b": "x"}},
        ],
    },
    {
        "role": "user",
        "content": [
            {
                "type": "tool_result",
                "tool_use_id": "c1",
                "content": [{"type": "text", "text": "R"}, {"type": "text", "text": "S"}],
                "is_error": True,
            },
            {"type": "text", "text": "Go on."},
        ],
    },
]
ITEMS = [
    {"role": "developer", "content": "D"},
    {"role": "user", "content": [{"type": "input_text", "text": t} for t in "AB"]},
    {"type": "reasoning", "id": "r", "summary": [], "content": [
        {"type": "reasoning_text", "text": "T"}]},
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "said"}]},
    {"type": "function_call", "call_id": "c1", "name": "add", "arguments": '{"a": 1}'},
    {"type": "function_call", "call_id": "c2", "name": "add", "arguments": '{"a": 2}'},
    {"type": "function_call_output", "call_id": "c2", "output": "second"},
    {"type": "function_call_output", "call_id": "c1", "output": "first"},
]  # fmt: skip


@pytest.mark.parametrize("effort", ["low", "medium", "high", "xhigh", "max"])
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("chat", {**CHAT, "messages": CONVERSATION}),
        ("chat", {"messages": [*ASKED, {"role": "assistant", "content": "x"}, *ASKED]}),
        ("messages", {**MESSAGES, "messages": ANTHROPIC_CONVERSATION, "system": "Be brief."}),
        ("messages", {"max_tokens": 9, "messages": ASKED, "thinking": {"type": "disabled"}}),
        ("messages", {"max_tokens": 9, "messages": ASKED, "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=1"},
            {"type": "text", "text": "one"}, {"type": "text", "text": "two"}]}),
        ("responses", {**RESPONSES, "input": ITEMS}),
        ("responses", {"input": "Hi", "instructions": "Be brief."}),
    ],
)  # fmt: skip
def test_prompts(kind, body, effort):
    body = {"model": MODEL, **body}
    told = {
        "chat": {"reasoning_effort": effort},
        "messages": {"output_config": {"effort": effort}},
        "responses": {"reasoning": {"effort": effort}},
    }
    body |= told[kind]
    request = {
        "chat": oracle.ChatCompletionRequest,
        "messages": oracle.MessagesRequest,
        "responses": oracle.ResponsesRequest,
    }[kind]
    conversation = request(body).convert(oracle.ConversionOptions()).conversation
    expected = oracle.DeepseekV4Encoding().render_conversation(conversation).prompt
    assert rendered(kind, body) == expected


def rendered(kind, body):
    """The prompt of a request by this project."""
    from mlx_deepseek_app.server.request import nearest_effort

    if kind == "responses":
        request, tools = ResponsesRequest.model_validate(body), Tools()
        tools.add(request.tools or ())
        ask = request.ask(Site, request.messages(Site), tools)
    else:
        form = {"chat": ChatRequest, "messages": MessagesRequest}[kind]
        ask = form.model_validate(body).ask(Site)
    form = prompts.get("v4_dated_chat")
    thinking = ask.options.get("thinking", True)
    effort = nearest_effort(ask.effort, tuple(form.efforts))
    told = {"tools": described(ask.options.get("tools")), "thinking": thinking, "effort": effort}
    return form.render(ask.prompt, **told)
