"""/v1/responses, as in OpenAI's API reference: stateless, or going on from stored ones."""

from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import Field
from starlette.responses import JSONResponse, Response

from mlx_deepseek_app.server import sse
from mlx_deepseek_app.server.api import state
from mlx_deepseek_app.server.api.openai_chat import Effort, ResponseFormat, SchemaFormat
from mlx_deepseek_app.server.api.openai_fields import MOST_LOGPROBS
from mlx_deepseek_app.server.api.responses_items import Item, Tools, as_engine
from mlx_deepseek_app.server.api.responses_store import Stored
from mlx_deepseek_app.server.api.responses_writer import ResponseWriter
from mlx_deepseek_app.server.errors import ApiError
from mlx_deepseek_app.server.events import End, Events
from mlx_deepseek_app.server.request import Ask, Body, Message, check_counts, given

router = APIRouter()
Site = Annotated[Any, Depends(state.site)]


class ReasoningOption(Body):
    """How long to think."""

    effort: Effort | None = None
    summary: str | None = None


class TextFormat(SchemaFormat):
    """What the answer is."""

    type: Literal["text", "json_object", "json_schema"] = "text"


class TextOptions(Body):
    """How the answer is written."""

    format: TextFormat | None = None
    verbosity: str | None = None


class NamedTool(Body):
    """The tool that must be called."""

    type: str
    name: str | None = None


class ResponsesRequest(Body):
    """A conversation to answer, and how."""

    model: str = ""
    input: str | list[Item]
    instructions: str | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    stream: bool | None = None
    background: bool | None = None
    max_output_tokens: int | None = Field(default=None, ge=1, le=1 << 31)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_logprobs: int | None = Field(default=None, ge=0, le=MOST_LOGPROBS)
    include: list[str] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    reasoning: ReasoningOption | None = None
    text: TextOptions | None = None
    metadata: dict[str, Any] | None = None
    user: str | None = None

    def messages(self, site: Any) -> list[Message]:
        """The whole conversation.

        Raises:
            ApiError: more than is permitted, or a response that is not there.
        """
        before: list[Message] = []
        if self.previous_response_id is not None:
            before = list(site.responses.get(self.previous_response_id).messages)
        messages = [*before, *as_engine(self.input)]
        check_counts(messages, site.settings)
        return messages

    def ask(self, site: Any, messages: list[Message], tools: Tools) -> Ask:
        """The request as the engine takes it; instructions are of this request only."""
        named = site.models.named(self.model)
        if self.background:
            raise ApiError("background is not possible here. Leave it out.", param="background")
        told = [{"role": "system", "content": self.instructions}] if self.instructions else []
        effort = self.reasoning.effort if self.reasoning else None
        logprobs = "message.output_text.logprobs" in (self.include or ())
        options = given(
            max_tokens=self.max_output_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            logprobs=(self.top_logprobs or 0) if logprobs or self.top_logprobs else None,
            thinking=named.thinking if effort is None else effort != "none",
            response_format=self._format(),
            **self._tools(tools),
        )
        return Ask(
            named.id, [*told, *messages], options, effort=None if effort == "none" else effort
        )

    def echo(self, ask: Ask) -> dict[str, Any]:
        """What a response repeats of its request."""
        wanted = self.text.format if self.text else None
        shown = {"type": "text"} if wanted is None else wanted.model_dump(by_alias=True)
        choice = self.tool_choice or "auto"
        reasoning = self.reasoning or ReasoningOption()
        return {
            "background": False,
            "completed_at": None,
            "error": None,
            "frequency_penalty": 0.0,
            "incomplete_details": None,
            "instructions": self.instructions,
            "max_output_tokens": self.max_output_tokens,
            "max_tool_calls": None,
            "model": self.model or ask.model,
            "parallel_tool_calls": self.parallel_tool_calls is not False,
            "presence_penalty": 0.0,
            "previous_response_id": self.previous_response_id,
            "prompt_cache_key": None,
            "reasoning": {"effort": reasoning.effort, "summary": reasoning.summary},
            "safety_identifier": None,
            "service_tier": "default",
            "store": self.store is not False,
            "temperature": 1.0 if self.temperature is None else self.temperature,
            "text": {"format": shown, "verbosity": (self.text and self.text.verbosity) or "medium"},
            "tool_choice": choice if isinstance(choice, str) else choice.model_dump(),
            "tools": [_told(tool) for tool in self.tools or ()],
            "top_logprobs": self.top_logprobs or 0,
            "top_p": 1.0 if self.top_p is None else self.top_p,
            "truncation": "disabled",
            "usage": None,
            "user": self.user,
            "metadata": self.metadata or {},
        }

    def _format(self) -> dict[str, Any] | None:
        wanted = self.text.format if self.text else None
        if wanted is None:
            return None
        return ResponseFormat(type=wanted.type, json_schema=wanted).as_engine()

    def _tools(self, tools: Tools) -> dict[str, Any]:
        choice = self.tool_choice
        if isinstance(choice, NamedTool):
            names = [tool["function"]["name"] for tool in tools.functions]
            if choice.name not in names:
                raise ApiError(
                    f"tool_choice names {str(choice.name)[:100]!r}, which is no tool of this "
                    "request.",
                    param="tool_choice",
                )
            wanted: Any = {"type": "function", "function": {"name": choice.name}}
        elif choice == "required" and not tools.functions:
            raise ApiError("tool_choice asks for a call, but there are no tools.", param="tools")
        else:
            wanted = choice
        if not tools.functions:
            return {}
        parallel = self.parallel_tool_calls
        return given(tools=tools.functions, tool_choice=wanted, parallel_tool_calls=parallel)


def _told(tool: dict[str, Any]) -> dict[str, Any]:
    """A tool of the request with all fields that a function has."""
    left_out = {"description": None, "parameters": None, "strict": None}
    return left_out | tool if tool.get("type") == "function" else tool


@router.post("/v1/responses", response_model=None)
@router.post("/responses", response_model=None)
async def responses(body: ResponsesRequest, request: Request, site: Site) -> Response:
    """The response, whole or as events."""
    tools = Tools()
    tools.add(body.tools or ())
    messages = body.messages(site)
    ask = body.ask(site, messages, tools)

    def keep(response: dict[str, Any]) -> None:
        if body.store is not False:
            said = as_engine([Item.model_validate(item) for item in response["output"]])
            items = body.model_dump(exclude_none=True)["input"]
            site.responses.put(Stored(response, items, [*messages, *said]))

    writer = ResponseWriter(body.echo(ask), tools, keep)
    events = site.answer("responses", ask)
    if body.stream:
        return await sse.stream(request, writer.stream(events), site.settings.keepalive_s)
    return JSONResponse(await sse.until_gone(request, _whole(writer, events)))


async def _whole(writer: ResponseWriter, events: Events) -> dict[str, Any]:
    async with aclosing(events):
        async for event in events:
            for _ in writer.take(event):
                pass
            if isinstance(event, End):
                return writer.ended(event)
    raise ApiError("The answer has no end.", 500)


@router.post("/v1/responses/compact")
@router.post("/responses/compact")
def compact() -> None:
    """Not offered: agents shorten conversations themselves where a server does not.

    Raises:
        ApiError: always.
    """
    raise ApiError("Conversations are not compacted here. Send a shorter one instead.", 404)


@router.get("/v1/responses/{number}")
@router.get("/responses/{number}")
def stored(number: str, site: Site) -> dict[str, Any]:
    """A response that was stored."""
    return site.responses.get(number).response


@router.get("/v1/responses/{number}/input_items")
@router.get("/responses/{number}/input_items")
def input_items(number: str, site: Site) -> dict[str, Any]:
    """The items that a stored response answers."""
    items = site.responses.get(number).items
    if isinstance(items, str):
        items = [{"type": "message", "role": "user", "content": items}]
    return {"object": "list", "data": items, "has_more": False}


@router.delete("/v1/responses/{number}")
@router.delete("/responses/{number}")
def delete(number: str, site: Site) -> dict[str, Any]:
    """Forget a stored response."""
    site.responses.delete(number)
    return {"id": number, "object": "response", "deleted": True}
