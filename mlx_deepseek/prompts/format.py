"""What every prompt format offers: messages in, text out, and how to read the answer."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlx_deepseek.errors import PromptError
from mlx_deepseek.prompts.markers import BOS, EOS, THINK_OPEN
from mlx_deepseek.prompts.messages import (
    GUARD,
    PICTURE,
    Message,
    Tokenizer,
    check,
    check_tools,
    control_tokens,
    encode,
    extend_system,
    guard,
    guarded,
)
from mlx_deepseek.prompts.parser import OutputParser
from mlx_deepseek.prompts.resume import begun, split
from mlx_deepseek.prompts.tools import ToolMarkup

# DeepSeek-V2.5's model card; the API's JSON mode adds the same.
JSON_INSTRUCTION = "## Response Format\n\nReply with JSON object ONLY."
# Ours: no release before V3.2 has words for a schema.
SCHEMA_INSTRUCTION = JSON_INSTRUCTION + " It must fit this JSON schema:\n{schema}"


@dataclass(frozen=True)
class PromptFormat:
    """A family's prompts, exact to the token.

    `thinking` says who decides: "never", "always" (the prompt opens the block), "optional" (the
    caller does), "model" (the model opens the block itself). `json_instruction` asks for JSON,
    `schema_instruction` for JSON of a {schema}; `blank_system`: instructions follow a blank line
    even where there is no system prompt. `picture` is the token that stands for a picture, and
    `gap` separates pictures that open a message from its text; `user_may` are control tokens that
    messages may contain.
    """

    id: str
    stop: tuple[str, ...] = (EOS,)
    thinking: str = "never"
    tools: ToolMarkup | None = None
    fim_markers: tuple[str, str, str] | None = None
    json_instruction: str = JSON_INSTRUCTION
    schema_instruction: str = SCHEMA_INSTRUCTION
    blank_system: bool = False
    picture: str | None = None
    gap: str = ""
    user_may: tuple[str, ...] = ()

    @property
    def supports_images(self) -> bool:
        """Whether messages may have pictures."""
        return self.picture is not None

    @property
    def supports_chat(self) -> bool:
        """Whether the format knows turns; base models continue text and nothing else."""
        return True

    @property
    def supports_thinking(self) -> bool:
        """Whether answers may come with reasoning."""
        return self.thinking != "never"

    @property
    def supports_tools(self) -> bool:
        """Whether tools can be offered and called."""
        return self.tools is not None

    @property
    def supports_system(self) -> bool:
        """Whether a conversation may begin with a system message."""
        return self.supports_chat

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        thinking: bool | None = None,
        add_generation_prompt: bool = True,
        json_output: bool | Mapping[str, Any] = False,
    ) -> str:
        """The prompt of a conversation, BOS included; `json_output` asks for JSON, or for a schema.

        A last message of the assistant with "prefix" true is gone on with. Control tokens that
        users typed are as good as the format's own in it: encode untrusted conversations with
        `render_ids`.

        Raises:
            PromptError: the format cannot express the messages.
        """
        text = self._written(
            self._checked(messages), tools, thinking, add_generation_prompt, json_output
        )
        return text.replace(GUARD, "")

    def _written(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None = None,
        thinking: bool | None = None,
        add_generation_prompt: bool = True,
        json_output: bool | Mapping[str, Any] = False,
    ) -> str:
        """`render` of checked messages."""
        messages, answer = split(messages)
        if self.tools is None and (tools or any(m.get("tool_calls") for m in messages)):
            raise PromptError(
                f"Prompt format {self.id!r} has no tool calls. Describe the tools in a "
                "message, or use V3-0324, R1-0528, V3.1 or a later model."
            )
        instructions = []
        if self.tools is not None and tools:
            check_tools(tools)
            instructions.append(self.tools.describe(tools))
        if json_output:
            instructions.append(self._asking_for_json(json_output))
        if instructions:
            messages = extend_system(messages, instructions, blank=self.blank_system)
        generate = add_generation_prompt or answer is not None
        text = self.turns(messages, self.thinks(thinking), generate)
        text += begun(answer, text, self.thinking == "model") if answer else ""
        return text.replace(PICTURE, self.picture or "")

    def _asking_for_json(self, schema: bool | Mapping[str, Any]) -> str:
        if isinstance(schema, bool):
            return self.json_instruction
        text = json.dumps(schema, ensure_ascii=False)
        return self.schema_instruction.replace("{schema}", text)

    def render_ids(
        self,
        tokenizer: Tokenizer,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **options: Any,
    ) -> list[int]:
        """Token numbers of `render`, with control tokens in messages and tools as plain text.

        One token stands for each picture.
        """
        controls = [c for c in control_tokens(tokenizer) if c not in self.user_may]
        messages = [guard(message, controls) for message in self._checked(messages)]
        return encode(tokenizer, self._written(messages, guarded(tools, controls), **options))

    def begun(self, messages: Sequence[Message], thinking: bool | None = None) -> str:
        """What has been written of the answer that `render` lets the model go on with."""
        _, answer = split(self._checked(messages))
        if answer is None:
            return ""
        opening = THINK_OPEN if self.reasoning_open(thinking) else ""
        return begun(answer, opening, self.thinking == "model")

    def _checked(self, messages: Sequence[Message]) -> list[Message]:
        by_value = self.tools is not None and self.tools.by_value
        return check(messages, decoded=by_value, gap=self.gap if self.supports_images else None)

    def relevant(self, messages: Sequence[Message]) -> Sequence[Message]:
        """The part of a conversation that the prompt shows: all of it."""
        return messages

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
            trim=self.supports_chat,
        )

    def fills(self, tokenizer: Tokenizer) -> bool:
        """Whether the format can ask for what belongs between two texts."""
        markers = self.fim_markers
        return markers is not None and set(markers) <= set(control_tokens(tokenizer))

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

    def fim_ids(self, tokenizer: Tokenizer, prefix: str, suffix: str) -> list[int]:
        """Token numbers of `fim`, with control tokens in the code as plain text.

        Raises:
            PromptError: the model was not trained to fill holes, or its tokenizer lacks the tokens
                (LLM V1 shares its format with Coder-V2, but not the vocabulary).
        """
        controls = control_tokens(tokenizer)
        text = self.fim(guarded(prefix, controls), guarded(suffix, controls))
        if not self.fills(tokenizer):
            raise PromptError(
                "This checkpoint's tokenizer has no fill-in-the-middle tokens. Use a Coder V1 base "
                "or Coder-V2 base model."
            )
        return encode(tokenizer, text)
