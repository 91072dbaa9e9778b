"""llm-comply's suites: OpenAI's chat, Open Responses, Anthropic's messages, by their schemas."""

import json
import subprocess
import sys

import pytest

from mlx_deepseek_app.server.site import build
from tests.app.server.scripted_model import ScriptedModel
from tests.app.server.serving import serving
from tests.app.server.test_behaviour import OneModel

# Where we mean to differ: a request that names no model is answered by the first one.
OTHERWISE = {"openai-chat": {"chat-error-handling"}, "open-responses": {"error-handling"}}


@pytest.mark.parametrize("form", ["openai-chat", "open-responses", "anthropic"])
def test_llm_comply_finds_nothing_that_is_not_meant(form):
    model = ScriptedModel("true", tools=("get_weather",))
    with serving(build(OneModel(model))) as address:
        asked = ["-u", f"{address}/v1", "-k", "any", "-m", "scripted", "--format", form, "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "llm_comply.cli", *asked],
            capture_output=True,
            text=True,
            timeout=120,
        )
    results = json.loads(done.stdout)["results"]
    failed = {one["id"]: one["errors"] for one in results if one["status"] == "failed"}
    assert set(failed) == OTHERWISE.get(form, set()), failed
    assert sum(one["status"] == "passed" for one in results) >= 6
    assert model.called == ["get_weather"]
