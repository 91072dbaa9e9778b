"""Formats of vision models: DeepSeek-VL, Janus, VL2, OCR, with one token for each picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlx_deepseek.errors import PromptError
from mlx_deepseek.prompts.control_tokens import (
    GUARD,
    PromptTokenizer,
    control_tokens,
    encode,
    guarded,
    well_formed,
)
from mlx_deepseek.prompts.format import PromptFormat
from mlx_deepseek.prompts.formats.plain_text import PlainChat
from mlx_deepseek.prompts.messages import Message, is_picture, pictures, with_pictures
from mlx_deepseek.prompts.special_tokens import BOS, EOS

# Phrases to find and boxes around them; all that grounding needs comes from the user.
REF, DET, GROUNDING = ("<|ref|>", "<|/ref|>"), ("<|det|>", "<|/det|>"), "<|grounding|>"
MARKS = (*REF, *DET, GROUNDING)
# Words of DeepSeek-OCR's instructions, for which a vocabulary may have tokens.
INSTRUCTION_WORDS = ("Free OCR.", "Convert the document to markdown.", "Locate", " in the image.")
# Roles with ASCII bars, unlike the language models'.
USER, ASSISTANT = "<|User|>", "<|Assistant|>"

# Around a picture's features, and before one that Janus draws.
BEGIN, END = "<begin_of_image>", "<end_of_image>"
FLOW_BEGIN = "<｜begin▁of▁generation｜>"

# What DeepSeek-VL was told in training, unless a conversation says something else.
VL_SYSTEM = (
    "You are a helpful language and vision assistant. You are able to understand the visual "
    "content that the user provides, and assist the user with a variety of tasks using natural "
    "language."
)


@dataclass(frozen=True)
class VLChat(PlainChat):
    """DeepSeek-VL: LLM V1's chat with a system prompt of its own."""

    stop: tuple[str, ...] = (EOS, "User:")
    picture: str | None = "<image_placeholder>"

    def turns(self, messages: Sequence[Message], thinking: bool, generate: bool) -> str:
        """The system prompt first; no message has blanks around it, as in the original."""
        messages = [{**message, "content": message["content"].strip()} for message in messages]
        if messages[0]["role"] != "system":
            messages = [{"role": "system", "content": VL_SYSTEM}, *messages]
        return super().turns(messages, thinking, generate)


@dataclass(frozen=True)
class JanusChat(VLChat):
    """Janus and JanusFlow: DeepSeek-VL's chat; a prompt to draw has no system prompt."""

    picture_text: str = f"{BEGIN}<image_placeholder>{END}"
    begins_drawing: str | None = BEGIN
    gap: str = "\n"

    def drawing_ids(self, tokenizer: PromptTokenizer, prompt: str) -> list[int]:
        """One question, without blanks around it, and the token that begins a picture."""
        text = guarded(well_formed(prompt.strip()), control_tokens(tokenizer))
        if not text:
            raise PromptError("draw: the prompt is empty. Expected what to draw, in words.")
        turn = f"{BOS}{self.user}: {text}\n\n{self.assistant}:{self.begins_drawing}"
        return encode(tokenizer, turn)


@dataclass(frozen=True)
class VL2Chat(PromptFormat):
    """DeepSeek-VL2: BOS [system] <|User|>: ... <|Assistant|>: ... EOS."""

    picture: str | None = "<image>"
    gap: str = "\n"
    user_may: tuple[str, ...] = MARKS

    def turns(self, messages: Sequence[Message], thinking: bool, generate: bool) -> str:
        """Every question is followed by the answer's role; answers follow it without a blank."""
        out = [BOS]
        for message in messages:
            content = message["content"].strip()
            match message["role"]:
                case "system":
                    out.append(content)
                case "user":
                    out.append(f"{USER}: {content}\n\n{ASSISTANT}:")
                case "assistant":  # the original encodes it apart from the colon
                    out.append(GUARD + content + EOS)
                case role:
                    raise PromptError(f"Prompt format {self.id!r} has no {role!r} messages.")
        return "".join(out)


@dataclass(frozen=True)
class OCRPrompt(PromptFormat):
    """DeepSeek-OCR: a picture and an instruction, without roles; each answer stands alone."""

    picture: str | None = "<image>"
    gap: str = "\n"
    user_may: tuple[str, ...] = (*MARKS, *INSTRUCTION_WORDS)

    @property
    def supports_system(self) -> bool:
        """There is no place for one."""
        return False

    def relevant(self, messages: Sequence[Message]) -> Sequence[Message]:
        """The last question, with the pictures of the last one that had any."""
        begun = isinstance(messages[-1], Mapping) and messages[-1].get("prefix")
        asked, *answer = messages[-2:] if begun else messages[-1:]
        shown = next((m for m in reversed(messages) if pictures([m])), asked)
        if shown is not asked and isinstance(asked, Mapping):
            parts = [part for part in shown["content"] if is_picture(part)]
            asked = with_pictures(asked, parts)
        return [asked, *answer]

    def turns(self, messages: Sequence[Message], thinking: bool, generate: bool) -> str:
        """One instruction, without blanks around it, as the original has it."""
        if len(messages) != 1 or messages[0]["role"] != "user":
            raise PromptError(
                f"Prompt format {self.id!r} takes a picture with one instruction. Expected a "
                "user's message and nothing else."
            )
        return BOS + messages[0]["content"].strip()
