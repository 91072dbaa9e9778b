"""Prompt formats, one place each, exact to the token; and how to find a checkpoint's."""

from collections.abc import Mapping
from typing import Any

from mlx_deepseek import catalog
from mlx_deepseek.errors import PromptError
from mlx_deepseek.prompts.chat import RoleChat
from mlx_deepseek.prompts.coder import CoderInstruct
from mlx_deepseek.prompts.format import PromptFormat
from mlx_deepseek.prompts.markers import DSML, EOS, EOT, FIM_BEGIN, FIM_END, FIM_HOLE
from mlx_deepseek.prompts.messages import Message, encode
from mlx_deepseek.prompts.parser import Delta, OutputParser
from mlx_deepseek.prompts.plain import Completion, PlainChat
from mlx_deepseek.prompts.r1 import R1Zero
from mlx_deepseek.prompts.sight import OCRPrompt, VL2Chat, VLChat
from mlx_deepseek.prompts.template import shipped, template_source
from mlx_deepseek.prompts.tools import DISTILLS, R1_0528, ToolCall
from mlx_deepseek.prompts.v31 import V31Chat
from mlx_deepseek.prompts.v32 import V32Chat

__all__ = [
    "FORMATS",
    "Delta",
    "Message",
    "OutputParser",
    "PromptFormat",
    "ToolCall",
    "encode",
    "for_checkpoint",
    "get",
]

FIM = (FIM_BEGIN, FIM_HOLE, FIM_END)
R1_GENERATION = "<think>\n"
# The formats of architectures that see; their checkpoints' templates know nothing of pictures.
VISION: Mapping[str, str] = {
    "deepseek_vl": "vl_chat",
    "deepseek_vl2": "vl2_chat",
    "deepseek_ocr": "ocr",
}

FORMATS: Mapping[str, PromptFormat] = {
    format.id: format
    for format in (
        Completion("completion"),
        Completion("coder_v1_base", fim_markers=FIM),
        Completion("coder_v2_base", fim_markers=FIM),
        Completion("prover_v1", stop=(EOS, "```")),
        Completion("prover_v15", stop=(EOS, "```")),
        CoderInstruct("coder_v1_instruct", stop=(EOT, EOS), fim_markers=FIM),
        PlainChat("llm_v1_chat", fim_markers=FIM),
        PlainChat("math_chat"),
        RoleChat("v2_0628_chat", tools=None, after_system="\n\n"),
        RoleChat("v25_chat", fim_markers=FIM),
        RoleChat("v3_chat"),
        RoleChat("v3_0324_chat", user_ends_turn=True),
        RoleChat("prover_v2", user_ends_turn=True),
        RoleChat("r1_chat", thinking="always", generation=R1_GENERATION, drops_reasoning=True),
        RoleChat(
            "r1_distill",
            tools=DISTILLS,
            thinking="always",
            generation=R1_GENERATION,
            drops_reasoning=True,
        ),
        *(
            RoleChat(
                name,
                tools=R1_0528,
                thinking="model",
                drops_reasoning=True,
                user_ends_turn=True,
            )
            for name in ("r1_0528_chat", "r1_0528_qwen3")
        ),
        R1Zero("r1_zero"),
        V31Chat("v31_chat"),
        V31Chat("v31_terminus_chat"),
        V31Chat("v32exp_chat"),
        V31Chat("math_v2", tools=None, thinking="always"),
        V32Chat("v32_chat"),
        V32Chat("v32_speciale", tools=None, thinking="always"),
        VLChat("vl_chat"),
        VL2Chat("vl2_chat"),
        OCRPrompt("ocr"),
    )
}


def get(format_id: str) -> PromptFormat:
    """The format called `format_id`, as the catalog names it.

    Raises:
        PromptError: this version has none of that name.
    """
    if format_id not in FORMATS:
        raise PromptError(
            f"Unknown prompt format {format_id!r}; expected one of {', '.join(FORMATS)}."
        )
    return FORMATS[format_id]


def for_checkpoint(
    config: Mapping[str, Any],
    tokenizer_config: Mapping[str, Any] | None = None,
    repo: str | None = None,
    architecture: str | None = None,
) -> PromptFormat:
    """The format of a checkpoint: by its name in the catalog, else by the template it ships.

    A shipped template renders; what it means (thinking, tools, stops) is ours. Without a name or a
    template the checkpoint is a base model. An `architecture` that sees has one format of its own.
    """
    seeing = VISION.get(architecture or "")
    if seeing is not None:
        return FORMATS[seeing]
    entry = catalog.find(repo) if repo else None
    source = template_source(tokenizer_config)
    known = entry.prompt_format if entry else None
    if known is not None and known in FORMATS:
        own = FORMATS[known]
        if not own.supports_chat:
            return own  # V3-Base and others ship their chat model's template
    else:
        own = FORMATS[recognise(source) if source else "completion"]
    return shipped(own, source)


def recognise(source: str) -> str:
    """The id of the format that a chat template's text writes."""
    if "### Instruction:" in source:
        return "coder_v1_instruct"
    if "<｜Assistant｜>" not in source:
        return "llm_v1_chat"
    if "<think>\\n" in source or "<think>\n" in source:
        return "r1_chat"
    if DSML in source:
        return "v32_chat"
    if "thinking" in source and "</think>" in source:
        return "v31_chat"
    if "</think>" in source:
        return "r1_0528_chat"
    return "v3_0324_chat" if "tool" in source else "v2_0628_chat"
