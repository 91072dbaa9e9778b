"""Libraries that people build agents with, each as its users call it, against nano.

Those that are not installed are skipped: `pip install '.[clients]'` brings them.
"""

import json

import pytest

QUESTION = "What is 347 + 586?"
ASKED = [{"role": "user", "content": QUESTION}]
ADD = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99}}}
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": ADD}}]
MUST = {"tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False}


@pytest.mark.parametrize(
    ("model", "path"),
    [("openai/nano", "/v1"), ("deepseek/deepseek-chat", ""), ("anthropic/claude-sonnet-4-5", "")],
)
def test_litellm(address, model, path):
    litellm = pytest.importorskip("litellm")
    told = {"model": model, "api_base": address + path, "api_key": "none", "messages": ASKED}
    told["max_tokens"] = 200
    answer = litellm.completion(**told)
    message = answer.choices[0].message
    assert message.content == "933"
    assert message.reasoning_content.startswith("347+586\nones 7+6=13")
    assert answer.usage.completion_tokens > 3
    parts = list(litellm.completion(stream=True, **told))
    assert "".join(part.choices[0].delta.content or "" for part in parts) == "933"
    called = litellm.completion(**told, **MUST, drop_params=True)
    (call,) = called.choices[0].message.tool_calls
    assert call.function.name == "add"
    assert set(json.loads(call.function.arguments)) <= {"a"}


def test_langchain_deepseek(address):
    langchain = pytest.importorskip("langchain_deepseek")
    model = langchain.ChatDeepSeek(model="deepseek-chat", api_base=address, api_key="none")
    answer = model.invoke(QUESTION)
    assert answer.content == "933"
    assert answer.additional_kwargs["reasoning_content"].startswith("347+586\nones 7+6=13")
    assert answer.usage_metadata["input_tokens"] == 17
    assert "".join(part.content for part in model.stream(QUESTION)) == "933"
    bound = model.bind_tools(TOOLS, tool_choice="required", parallel_tool_calls=False)
    (call,) = bound.invoke(QUESTION).tool_calls
    assert call["name"] == "add"
    assert set(call["args"]) <= {"a"}


@pytest.mark.parametrize("kind", ["chat", "responses", "anthropic"])
def test_pydantic_ai(address, kind):
    pytest.importorskip("pydantic_ai")
    from pydantic_ai import Agent
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.anthropic import AnthropicProvider
    from pydantic_ai.providers.openai import OpenAIProvider

    openai = OpenAIProvider(base_url=f"{address}/v1", api_key="none")
    anthropic = AnthropicProvider(base_url=address, api_key="none")
    model = {
        "chat": lambda: OpenAIChatModel("nano", provider=openai),
        "responses": lambda: OpenAIResponsesModel("nano", provider=openai),
        "anthropic": lambda: AnthropicModel("nano", provider=anthropic),
    }[kind]()
    agent = Agent(model, model_settings={"max_tokens": 200})
    result = agent.run_sync(QUESTION)
    assert result.output == "933"
    assert result.usage.output_tokens > 3
    again = agent.run_sync("Who are you?", message_history=result.all_messages())
    assert again.output


def test_pydantic_ai_gets_what_it_declares(address):
    pytest.importorskip("pydantic_ai")
    from pydantic import BaseModel, Field
    from pydantic_ai import Agent, NativeOutput
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    class Sum(BaseModel):
        total: int = Field(ge=0, le=2000)

    provider = OpenAIProvider(base_url=f"{address}/v1", api_key="none")
    agent = Agent(OpenAIChatModel("nano", provider=provider), output_type=NativeOutput(Sum))
    assert 0 <= agent.run_sync(QUESTION).output.total <= 2000
