"""Any body at all: the right status in the API's own shape, and a server that goes on."""

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.breadth import examples

FIELDS = {
    "/v1/chat/completions": (
        "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens",
        "n", "stop", "seed", "temperature", "top_p", "logprobs", "top_logprobs", "tools",
        "tool_choice", "parallel_tool_calls", "response_format", "thinking", "reasoning_effort",
        "logit_bias", "presence_penalty", "min_p",
    ),
    "/v1/completions": (
        "model", "prompt", "suffix", "echo", "logprobs", "max_tokens", "n", "stream", "stop",
    ),
    "/v1/responses": (
        "model", "input", "instructions", "previous_response_id", "store", "stream", "background",
        "tools", "tool_choice", "reasoning", "text", "metadata", "max_output_tokens", "include",
    ),
    "/chat/completions": ("model", "messages", "stream", "thinking", "tools", "stop"),
    "/v1/messages": (
        "model", "messages", "system", "max_tokens", "stream", "stop_sequences", "tools",
        "tool_choice", "thinking", "temperature", "output_config",
    ),
    "/v1/messages/count_tokens": ("model", "messages", "system", "tools", "thinking"),
    "/v1/images/generations": ("model", "prompt", "n", "seed", "response_format"),
    "/tokenize": ("model", "prompt", "messages", "tools"),
}  # fmt: skip
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["nano", "user", "assistant", "tool", "text", "auto", "required", "\ud800"])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["role", "content", "type", "text", "function", "name", "parameters", "schema",
             "tool_calls", "arguments", "image_url", "url", "json_schema", "input", "id", "\x00"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=8,
)  # fmt: skip
user = st.fixed_dictionaries({"role": st.just("user"), "content": st.text(max_size=8) | values})
BASE = {
    "messages": st.lists(user, max_size=2) | values,
    "prompt": st.text(max_size=8) | values,
    "input": st.text(max_size=8) | values,
    "max_tokens": st.just(2) | values,
    "max_output_tokens": st.just(2) | values,
    "model": st.just("nano") | values,
}


def bodies(path):
    """Bodies that are nearly right, or not at all."""
    fields = {name: BASE.get(name, values) for name in FIELDS[path]}
    needed = {
        name: fields.pop(name) for name in ("max_tokens", "max_output_tokens") if name in fields
    }
    return st.fixed_dictionaries(needed, optional=fields) | values


@pytest.mark.parametrize("path", FIELDS)
def test_any_body_gets_an_answer_in_shape(address, path):
    with httpx.Client(base_url=address, timeout=120) as client:

        @settings(
            max_examples=examples(100),
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(bodies(path))
        def check(body):
            text = dumps(body)
            answer = client.post(path, content=text, headers={"content-type": "application/json"})
            assert answer.status_code in (200, 400, 404), (answer.status_code, answer.text, text)
            assert "Traceback" not in answer.text
            if answer.status_code == 200:
                return
            told = answer.json()
            assert told["error"]["message"]
            assert told["error"]["type"]
            assert (told.get("type") == "error") == path.startswith("/v1/messages")

        check()
        assert client.get("/health").status_code == 200


def dumps(value):
    """JSON as Python writes it, with NaN, infinities and halves of surrogate pairs."""
    import json

    return json.dumps(value).encode()


@pytest.mark.parametrize("path", FIELDS)
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000, b"null", b'"x"', b"1e999", b"\x00"],
)
def test_what_is_no_json_is_told(address, path, body):
    answer = httpx.post(
        address + path, content=body, headers={"content-type": "application/json"}, timeout=60
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]
