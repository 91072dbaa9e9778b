"""A chat template that a checkpoint ships, in place of our own rendering."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from mlx_deepseek.prompts.format import PromptFormat
from mlx_deepseek.prompts.messages import PICTURE, Message
from mlx_deepseek.prompts.special_tokens import BOS, EOS
from mlx_deepseek.prompts.template_process import shared_process

# What templates have that take a message's content for a list of parts.
PARTS = re.compile(r"""\bin\s+\w+(\.content|\[['"]content['"]\])""")


class ShippedTemplate(PromptFormat):
    """`own` for everything but the layout of turns, which the checkpoint's jinja `source` has.

    Conversations with tool calls take our rendering: the published templates of V2.5 and R1 leave
    a single call unclosed.
    """

    def __init__(self, own: PromptFormat, source: str, settings: Mapping[str, Any] | None = None):
        super().__init__(**{field.name: getattr(own, field.name) for field in fields(PromptFormat)})
        self.own = own
        self.source = source
        self.bos = _token(settings, "bos_token", BOS)
        self.eos = _token(settings, "eos_token", EOS)

    @property
    def supports_chat(self) -> bool:
        """A template makes a chat model."""
        return True

    @property
    def supports_system(self) -> bool:
        """Where our own rendering has a place for one."""
        return self.own.supports_system or not self.own.supports_chat

    def turns(self, messages: Sequence[Message], thinking: bool, generate: bool) -> str:
        """What the template gives."""
        if any(m["role"] == "tool" or m.get("tool_calls") for m in messages):
            return self.own.turns(messages, thinking, generate)
        # Templates that know pictures look for them among the parts of messages.
        parts = self.supports_images and "image" in self.source
        whole = "string" in self.source or not PARTS.search(self.source)  # text alone is a string
        if parts or not whole:
            messages = [_with_parts(message, whole) for message in messages]
        variables = {
            "messages": list(messages),
            "add_generation_prompt": generate,
            "thinking": thinking,
            "bos_token": self.bos,
            "eos_token": self.eos,
        }
        return shared_process().render(self.source, variables)


def _with_parts(message: Message, whole: bool) -> Message:
    """A message with content in OpenAI's parts, text alone `whole` or a part, too."""
    first, *others = message["content"].split(PICTURE)
    if not others and whole:
        return message
    parts: list[Mapping[str, Any]] = [{"type": "text", "text": first}] if first else []
    for text in others:
        parts.append({"type": "image"})
        parts += [{"type": "text", "text": text}] if text else []
    return {**message, "content": parts}


def _token(settings: Mapping[str, Any] | None, key: str, usual: str) -> str:
    """A special token's text by the checkpoint's settings; "" where they say that there is none."""
    said = (settings or {}).get(key, usual)
    said = said.get("content", usual) if isinstance(said, Mapping) else said
    return said if isinstance(said, str) else ""


def template_source(tokenizer_config: Mapping[str, Any] | None) -> str | None:
    """The chat template in a tokenizer_config.json, the default one of several."""
    source = (tokenizer_config or {}).get("chat_template")
    if isinstance(source, list):
        source = next((e.get("template") for e in source if e.get("name") == "default"), None)
    return source if isinstance(source, str) and source else None


def with_template(
    own: PromptFormat, source: str | None, settings: Mapping[str, Any] | None = None
) -> PromptFormat:
    """`own`, rendering with the chat template `source` if there is one.

    `settings` are tokenizer_config.json's, for the special tokens.
    """
    return own if source is None else ShippedTemplate(own, source, settings)
