"""What every prompt format offers: messages in, text out, and how to read the answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mlx_deepseek.errors import PromptError
from mlx_deepseek.prompts.markers import BOS, EOS
from mlx_deepseek.prompts.parser import OutputParser
from mlx_deepseek.prompts.tools import ToolMarkup

Message = Mapping[str, Any]
ROLES = ("system", "user", "assistant", "tool")

# Put inside control tokens that users typed, so that they are encoded as plain text.
GUARD = "\ue000"


class Tokenizer(Protocol):
    """What encoding needs of a tokenizer (transformers' or mlx-lm's wrapper)."""

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]: ...
    def get_added_vocab(self) -> dict[str, int]: ...


@dataclass(frozen=True)
class PromptFormat:
    """A family's prompts, exact to the token.

    `thinking` says who decides: "never", "always" (the prompt opens the block), "optional" (the
    caller does), "model" (the model opens the block itself).
    """

    id: str
    stop: tuple[str, ...] = (EOS,)
    thinking: str = "never"
    tools: ToolMarkup | None = None
    fim_markers: tuple[str, str, str] | None = None

    @property
    def supports_chat(self) -> bool:
        """Whether the format knows turns; base models continue text and nothing else."""
        return True

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        thinking: bool | None = None,
        add_generation_prompt: bool = True,
        json_output: bool = False,
    ) -> str:
        """The prompt of a conversation, BOS included.

        Raises:
            PromptError: the format cannot express the messages.
        """
        messages = check(messages)
        instructions = []
        if tools:
            if self.tools is None:
                raise PromptError(
                    f"Prompt format {self.id!r} has no tool calls. Describe the tools in a "
                    "message, or use V3-0324, R1-0528, V3.1 or a later model."
                )
            instructions.append(self.tools.describe(tools))
        if json_output:
            instructions.append(JSON_INSTRUCTION)
        if instructions:
            messages = extend_system(messages, instructions)
        return self.turns(messages, self.thinks(thinking), add_generation_prompt)

    def turns(self, messages: Sequence[Message], thinking: bool, generate: bool) -> str:
        """Checked messages as text; each format's own part."""
        raise PromptError(
            f"Prompt format {self.id!r} is a base model's: it continues text and knows no chat. "
            "Pass a string instead of messages, or load the chat or instruct variant."
        )

    def thinks(self, wanted: bool | None) -> bool:
        """Whether this generation thinks; `wanted` None takes the format's default."""
        if self.thinking == "optional":
            return bool(wanted)
        return self.thinking != "never"

    def reasoning_open(self, thinking: bool | None = None) -> bool:
        """Whether the prompt itself ends inside a reasoning block."""
        return self.thinking in ("always", "optional") and self.thinks(thinking)

    def parser(self, thinking: bool | None = None) -> OutputParser:
        """A fresh streaming reader of this format's answers."""
        return OutputParser(
            reasoning=self.thinking != "never",
            opened=self.reasoning_open(thinking),
            tools=self.tools,
        )

    def fim(self, prefix: str, suffix: str) -> str:
        """Prompt for what belongs between `prefix` and `suffix`.

        Raises:
            PromptError: the model was not trained to fill holes.
        """
        if self.fim_markers is None:
            raise PromptError(
                f"Prompt format {self.id!r} has no fill-in-the-middle tokens. Use a Coder V1 base "
                "or Coder-V2 base model."
            )
        begin, hole, end = self.fim_markers
        return f"{BOS}{begin}{prefix}{hole}{suffix}{end}"

    def render_ids(self, tokenizer: Tokenizer, messages: Sequence[Message], **options) -> list[int]:
        """Token numbers of `render`, with control tokens in message contents as plain text."""
        controls = sorted(tokenizer.get_added_vocab(), key=len, reverse=True)
        guarded = [guard(message, controls) for message in messages]
        return encode(tokenizer, self.render(guarded, **options))


JSON_INSTRUCTION = "## Response Format\n\nReply with JSON object ONLY."


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """Token numbers of a prompt that spells its own BOS; guards split tokens, and vanish."""
    ids: list[int] = []
    for piece in text.split(GUARD):
        ids += tokenizer.encode(piece, add_special_tokens=False)
    return ids


def guard(message: Message, controls: Sequence[str]) -> dict[str, Any]:
    """A copy of a message in whose content no control token can be recognised."""
    message = dict(message)
    for key in ("content", "reasoning_content"):
        text = message.get(key)
        if isinstance(text, str):
            text = text.replace(GUARD, "")
            if message.get("role") == "assistant":
                # </think> separates reasoning in histories that clients send back in one piece.
                spared = [c for c in controls if c not in ("<think>", "</think>")]
            else:
                spared = list(controls)
            for control in spared:
                if len(control) > 1:
                    text = text.replace(control, control[:1] + GUARD + control[1:])
            message[key] = text
    return message


def extend_system(messages: Sequence[Message], texts: Sequence[str]) -> list[Message]:
    """Messages whose system prompt ends with `texts`, each after a blank line."""
    first = messages[0] if messages and messages[0]["role"] == "system" else None
    parts = [first["content"]] if first and first["content"] else []
    system = {"role": "system", "content": "\n\n".join([*parts, *texts])}
    return [system, *(messages[1:] if first else messages)]


def check(messages: Sequence[Message]) -> list[Message]:
    """Messages with string contents; "developer" counts as system, text parts are joined.

    Raises:
        PromptError: no messages, an unknown role, a picture, or a tool result without a call.
    """
    if isinstance(messages, str) or not messages:
        raise PromptError(
            'Expected a list of messages like {"role": "user", "content": "..."}; got '
            f"{'a string' if messages else 'none'}."
        )
    checked: list[Message] = []
    called = False
    for number, message in enumerate(messages):
        role = message.get("role")
        role = "system" if role == "developer" else role
        if role not in ROLES:
            raise PromptError(
                f"Message {number} has role {role!r}; expected one of {', '.join(ROLES)}."
            )
        if role == "tool" and not called:
            raise PromptError(
                f"Message {number} is a tool's result, but no assistant message before it has "
                "tool_calls. Send the call with its result."
            )
        called = called or bool(message.get("tool_calls"))
        checked.append({**message, "role": role, "content": _text(message, number)})
    return checked


def _text(message: Message, number: int) -> str:
    content = message.get("content")
    if content is None or isinstance(content, str):
        if content is None and not message.get("tool_calls"):
            raise PromptError(f"Message {number} has no content.")
        return content or ""
    parts = []
    for part in content:
        if part.get("type") != "text":
            raise PromptError(
                f"Message {number} has a part of type {part.get('type')!r}; this is a text model. "
                "Send text only, or load a vision model."
            )
        parts.append(part["text"])
    return "".join(parts)
