"""Prompt formats, one place each, exact to the token; and how to find a checkpoint's."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mlx_deepseek import catalog
from mlx_deepseek.errors import PromptError
from mlx_deepseek.prompts.control_tokens import encode
from mlx_deepseek.prompts.format import PromptFormat, RenderedPrompt
from mlx_deepseek.prompts.formats.coder import CoderInstruct
from mlx_deepseek.prompts.formats.plain_text import PlainChat, TextCompletion
from mlx_deepseek.prompts.formats.r1 import R1Zero
from mlx_deepseek.prompts.formats.role_tokens import RoleChat
from mlx_deepseek.prompts.formats.shipped_template import template_source, with_template
from mlx_deepseek.prompts.formats.v4 import FORMATS as V4_FORMATS
from mlx_deepseek.prompts.formats.v4 import IMAGES
from mlx_deepseek.prompts.formats.v31 import V31Chat
from mlx_deepseek.prompts.formats.v32 import V32Chat
from mlx_deepseek.prompts.formats.vision import (
    ASSISTANT,
    END,
    FLOW_BEGIN,
    USER,
    JanusChat,
    OCRPrompt,
    VL2Chat,
    VLChat,
)
from mlx_deepseek.prompts.messages import Message
from mlx_deepseek.prompts.parser import Delta, OutputParser
from mlx_deepseek.prompts.special_tokens import (
    DSML,
    EOS,
    EOT,
    FIM_BEGIN,
    FIM_END,
    FIM_HOLE,
    THINK_CLOSE,
)
from mlx_deepseek.prompts.tools import DISTILLS, R1_0528, ToolCall

__all__ = [
    "FORMATS",
    "Delta",
    "Message",
    "OutputParser",
    "PromptFormat",
    "RenderedPrompt",
    "ToolCall",
    "encode",
    "for_checkpoint",
    "get",
]

FIM = (FIM_BEGIN, FIM_HOLE, FIM_END)
R1_GENERATION = "<think>\n"
# The formats of architectures with a vision encoder.
VISION: Mapping[str, str] = {
    "deepseek_vl": "vl_chat",
    "deepseek_vl2": "vl2_chat",
    "deepseek_ocr": "ocr",
    "deepseek_ocr2": "ocr2",
    "janus": "janus_pro",
    "janusflow": "janusflow",
    "deepseek_v41": "v41_chat",
}

FORMATS: Mapping[str, PromptFormat] = {
    format.id: format
    for format in (
        TextCompletion("completion"),
        TextCompletion("coder_v1_base", fim_markers=FIM),
        TextCompletion("coder_v2_base", fim_markers=FIM),
        TextCompletion("prover_v1", stop=(EOS, "```")),
        TextCompletion("prover_v15", stop=(EOS, "```")),
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
                name, tools=R1_0528, thinking="model", drops_reasoning=True, user_ends_turn=True
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
        *V4_FORMATS,
        VLChat("vl_chat"),
        VL2Chat("vl2_chat"),
        OCRPrompt("ocr"),
        OCRPrompt("ocr2"),
        JanusChat("janus_old"),
        JanusChat("janus_pro", stop=(EOS, USER), user=USER, assistant=ASSISTANT),
        # Its features begin with an embedding of their own, in place of the token.
        JanusChat("janusflow", picture_text=f"<image_placeholder>{END}", begins_drawing=FLOW_BEGIN),
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
    template the checkpoint is a base model. An `architecture` with a vision encoder has a format of
    its own; only its name tells Janus-1.3B from Janus-Pro. A fine-tune's template counts there if
    it knows images, which the authors' do not. Where the catalog is silent, `prompt_format` in
    tokenizer_config.json counts, as the embedded prover has it.
    """
    entry = catalog.find(repo) if repo else None
    known = entry.prompt_format if entry else (tokenizer_config or {}).get("prompt_format")
    source = template_source(tokenizer_config)
    vision = VISION.get(architecture or "")
    if config.get("vision_n_layers"):
        vision = "v4_vision"
    if vision is not None:
        own = FORMATS.get(known or "")
        own = own if own is not None and own.supports_images else FORMATS[vision]
        knows_images = entry is None and source is not None and "image" in source
        return with_template(own, source if knows_images else None, tokenizer_config)
    if known is not None and known in FORMATS:
        own = FORMATS[known]
        if not own.supports_chat:
            return own  # V3-Base and others ship their chat model's template
    else:
        own = FORMATS[recognise(source) if source else "completion"]
    return with_template(own, source, tokenizer_config)


def with_picture_token(format: PromptFormat, config: Mapping[str, Any], tokenizer: Any) -> Any:
    """The format with the spelling that a checkpoint's tokenizer has of V4's picture token.

    config.json names the token by its number, or the tokenizer has one of two spellings.
    """
    if tokenizer is None or format.picture not in IMAGES:
        return format
    number = config.get("image_token_id")
    if number is not None:
        spelled = next((text for text, n in tokenizer.get_vocab().items() if n == number), None)
    else:
        spelled = next((text for text in IMAGES if tokenizer.token_id(text) is not None), None)
    return replace(format, picture=spelled) if spelled else format


# What a chat template's text has (or, after a "!", has not), and the format that writes it.
TEMPLATES: Sequence[tuple[tuple[str, ...], str]] = (
    (("### Instruction:",), "coder_v1_instruct"),
    (("!<｜Assistant｜>",), "llm_v1_chat"),
    (("<think>\\n",), "r1_chat"),
    (("<think>\n",), "r1_chat"),
    ((DSML,), "v32_chat"),
    (("thinking", THINK_CLOSE), "v31_chat"),
    ((THINK_CLOSE,), "r1_0528_chat"),
    (("tool",), "v3_0324_chat"),
    ((), "v2_0628_chat"),
)


def recognise(source: str) -> str:
    """The id of the format that a chat template's text writes."""

    def has(marker: str) -> bool:
        return marker[1:] not in source if marker.startswith("!") else marker in source

    return next(name for markers, name in TEMPLATES if all(map(has, markers)))
