"""DeepSeek's API: OpenAI's without /v1, what is beta there, and the balance.

Reference: https://api-docs.deepseek.com.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from mlx_deepseek_app.server.api import state
from mlx_deepseek_app.server.api.openai_chat import ChatRequest, respond
from mlx_deepseek_app.server.api.openai_chat_writer import DeepSeekChatWriter

router = APIRouter()
Site = Annotated[Any, Depends(state.site)]


@router.post("/chat/completions", response_model=None)
@router.post("/beta/chat/completions", response_model=None)
async def chat(body: ChatRequest, request: Request, site: Site) -> Response:
    """The answer; a last message of the assistant with "prefix" true is continued."""
    return await respond(body.ask(site), body, request, site, DeepSeekChatWriter)


@router.get("/user/balance")
def balance() -> dict[str, Any]:
    """That nothing has to be paid here; clients ask before they begin."""
    amounts = ("total_balance", "granted_balance", "topped_up_balance")
    return {
        "is_available": True,
        "balance_infos": [{"currency": "USD", **dict.fromkeys(amounts, "0.00")}],
    }
