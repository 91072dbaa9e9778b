"""POST /v1/chat/completions, as OpenAI's API reference describes it, with DeepSeek's additions."""

from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import Field
from starlette.responses import Response

from mlx_deepseek_app.server.api import state
from mlx_deepseek_app.server.api.choices import merged, seeds, written
from mlx_deepseek_app.server.api.openai_chat_writer import ChatWriter
from mlx_deepseek_app.server.api.openai_fields import MOST_LOGPROBS, SamplingBody
from mlx_deepseek_app.server.api.openai_messages import (
    ChatMessage,
    FunctionTool,
    ToolChoice,
    tool_options,
)
from mlx_deepseek_app.server.errors import ApiError
from mlx_deepseek_app.server.request import Ask, Body, check_counts, given

router = APIRouter()
Site = Annotated[Any, Depends(state.site)]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class ThinkingSwitch(Body):
    """DeepSeek's switch."""

    type: Literal["enabled", "disabled", "adaptive", "auto"]


class SchemaFormat(Body):
    """A JSON schema that the answer fits."""

    name: str | None = None
    content: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class ResponseFormat(Body):
    """What the answer is: text, any JSON object, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: SchemaFormat | None = None

    def as_engine(self) -> dict[str, Any]:
        """The option `response_format` of `Engine.stream`.

        Raises:
            ApiError: there is no schema.
        """
        if self.type != "json_schema":
            return {"type": self.type}
        schema = self.json_schema.content if self.json_schema else None
        if schema is None:
            raise ApiError(
                "response_format has no json_schema.schema. Expected the schema there.",
                param="response_format",
            )
        return {"type": "json_schema", "json_schema": {"schema": schema}}


class ChatRequest(SamplingBody):
    """A conversation to answer, and how."""

    messages: list[ChatMessage]
    max_completion_tokens: int | None = Field(default=None, ge=1, le=1 << 31)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=MOST_LOGPROBS)
    tools: list[FunctionTool] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    thinking: ThinkingSwitch | None = None
    reasoning_effort: Effort | None = None

    def ask(self, site: Any) -> Ask:
        """The request as the engine takes it.

        Raises:
            ApiError: more than is permitted, or what contradicts itself.
        """
        named = site.models.named(self.model)
        messages = [one.as_engine(f"messages.{n}") for n, one in enumerate(self.messages)]
        check_counts(messages, site.settings)
        if self.max_tokens == 0:
            raise ApiError("max_tokens is 0. Expected 1 at least.", param="max_tokens")
        if self.top_logprobs and not self.logprobs:
            raise ApiError("top_logprobs needs logprobs: true.", param="top_logprobs")
        options = self.sampling(site.settings) | given(
            max_tokens=self.max_completion_tokens or self.max_tokens,
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            response_format=self.response_format and self.response_format.as_engine(),
            thinking=self._thinks(named.thinking),
        )
        tools = tool_options(self.tools, self.tool_choice, self.parallel_tool_calls)
        effort = self.reasoning_effort if self.reasoning_effort != "none" else None
        return Ask(named.id, messages, {**options, **tools}, effort=effort)

    def _thinks(self, named: bool | None) -> bool | None:
        """What the switch says, else the effort, else the model's name."""
        if self.thinking is not None:
            return self.thinking.type != "disabled"
        if self.reasoning_effort is not None:
            return self.reasoning_effort != "none"
        return named


@router.post("/v1/chat/completions", response_model=None)
async def chat(body: ChatRequest, request: Request, site: Site) -> Response:
    """The answer, whole or in pieces."""
    return await respond(body.ask(site), body, request, site)


async def respond(
    ask: Ask, body: ChatRequest, request: Request, site: Any, dialect: type[ChatWriter] = ChatWriter
) -> Response:
    """The answers to a checked request."""
    writer = dialect(body.model or ask.model)
    asks = [replace(ask, options=options) for options in seeds(ask.options, body.n or 1)]
    events = merged([site.answer("chat", one) for one in asks])
    return await written(writer, events, len(asks), body, request, site)
