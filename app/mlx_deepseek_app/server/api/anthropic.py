"""POST /v1/messages, as Anthropic's API reference describes it; /anthropic before it is DeepSeek's.

Thinking blocks that come back are the reasoning of their turn. Their signatures are not looked at.
"""

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import Field
from starlette.responses import JSONResponse, Response

from mlx_deepseek_app.server import sse
from mlx_deepseek_app.server.api import state
from mlx_deepseek_app.server.api.anthropic_messages import (
    AnthropicTool,
    ContentBlock,
    Turn,
    as_engine,
    tool_as_engine,
)
from mlx_deepseek_app.server.api.anthropic_writer import MessageWriter
from mlx_deepseek_app.server.api.choices import whole
from mlx_deepseek_app.server.errors import ApiError
from mlx_deepseek_app.server.request import Ask, Body, check_counts, given

router = APIRouter()
Site = Annotated[Any, Depends(state.site)]
CHOICES = {"auto": "auto", "any": "required", "none": "none"}


class ThinkingConfig(Body):
    """Whether to think; models decide themselves how long, so budgets are not used."""

    type: Literal["enabled", "disabled", "adaptive"]


class ToolChoiceBody(Body):
    """Which tools to use."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class OutputFormat(Body):
    """A JSON schema that the answer fits."""

    type: Literal["json_schema"]
    content: dict[str, Any] = Field(alias="schema")


class OutputConfig(Body):
    """How long to think, and what the answer is."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None


class CountRequest(Body):
    """A conversation."""

    model: str = ""
    messages: list[Turn]
    system: str | list[ContentBlock] | None = None
    tools: list[AnthropicTool] | None = None
    tool_choice: ToolChoiceBody | None = None
    thinking: ThinkingConfig | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None

    def ask(self, site: Any, **more: Any) -> Ask:
        """The request as the engine takes it.

        Raises:
            ApiError: more than is permitted, or what contradicts itself.
        """
        named = site.models.named(self.model)
        messages = as_engine(self.system, self.messages)
        check_counts(messages, site.settings)
        config = self.output_config or OutputConfig()
        wanted = config.format or self.output_format
        thinking = named.thinking if config.effort is None else config.effort != "none"
        if self.thinking is not None:
            thinking = self.thinking.type != "disabled"
        options = given(
            thinking=thinking,
            response_format=wanted
            and {"type": "json_schema", "json_schema": {"schema": wanted.content}},
            **more,
            **self._tools(),
        )
        effort = None if config.effort == "none" else config.effort
        return Ask(named.id, messages, options, effort=effort)

    def _tools(self) -> dict[str, Any]:
        choice = self.tool_choice
        tools = [tool_as_engine(tool, f"tools.{n}") for n, tool in enumerate(self.tools or ())]
        if not tools:
            return {}
        if choice is None:
            return {"tools": tools}
        wanted: Any = CHOICES.get(choice.type)
        if wanted is None:
            names = [tool["function"]["name"] for tool in tools]
            if choice.name not in names:
                raise ApiError(
                    f"tool_choice names {str(choice.name)[:100]!r}, which is no tool of this "
                    "request.",
                    param="tool_choice",
                )
            wanted = {"type": "function", "function": {"name": choice.name}}
        parallel = False if choice.disable_parallel_tool_use else None
        return given(tools=tools, tool_choice=wanted, parallel_tool_calls=parallel)


class MessagesRequest(CountRequest):
    """A conversation to answer, and how."""

    max_tokens: int = Field(ge=1, le=1 << 31)
    stream: bool | None = None
    stop_sequences: list[str] | None = Field(default=None, max_length=256)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_k: int | None = Field(default=None, ge=0, lt=2**31)


@router.post("/v1/messages", response_model=None)
@router.post("/anthropic/v1/messages", response_model=None)
async def messages(body: MessagesRequest, request: Request, site: Site) -> Response:
    """The answer, whole or in pieces."""
    ask = body.ask(
        site,
        max_tokens=body.max_tokens,
        stop=body.stop_sequences,
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=body.top_k,
    )
    writer = MessageWriter(body.model or ask.model, tuple(body.stop_sequences or ()))
    events = site.answer("messages", ask)
    if body.stream:
        return await sse.stream(request, writer.stream(events), site.settings.keepalive_s)
    return JSONResponse(writer.whole(await sse.until_gone(request, whole(events))))


@router.post("/v1/messages/count_tokens")
@router.post("/anthropic/v1/messages/count_tokens")
async def count_tokens(body: CountRequest, site: Site) -> dict[str, int]:
    """How many tokens the conversation's prompt has."""
    return {"input_tokens": await prompt_tokens(site, body.ask(site))}


async def prompt_tokens(site: Any, ask: Ask) -> int:
    """The length of a conversation's prompt."""
    told = {key: ask.options[key] for key in ("tools", "thinking") if key in ask.options}
    async with site.models.use(ask.model) as engine:
        encoded = await asyncio.to_thread(engine.processor.encode, ask.prompt, **told)
        return len(encoded.ids)
