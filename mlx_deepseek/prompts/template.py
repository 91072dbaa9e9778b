"""A chat template that a checkpoint ships, in place of our own rendering."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from mlx_deepseek.errors import PromptError
from mlx_deepseek.prompts.format import PromptFormat
from mlx_deepseek.prompts.markers import BOS, EOS
from mlx_deepseek.prompts.messages import Message


@dataclass(frozen=True)
class ShippedTemplate(PromptFormat):
    """`own` for everything but the layout of turns, which the checkpoint's jinja `source` has.

    Conversations with tool calls take our rendering: the published templates of V2.5 and R1 leave
    a single call unclosed.
    """

    source: str = ""
    own: PromptFormat | None = None

    @cached_property
    def template(self):
        """The compiled template, in a sandbox, with transformers' settings."""
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
        )
        environment.filters["tojson"] = _json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        try:
            return environment.from_string(self.source)
        except TemplateError as error:
            raise PromptError(f"The checkpoint's chat template is broken: {error}.") from error

    @property
    def supports_chat(self) -> bool:
        """A template makes a chat model."""
        return True

    def turns(self, messages: Sequence[Message], thinking: bool, generate: bool) -> str:
        """What the template gives."""
        assert self.own is not None
        if any(m["role"] == "tool" or m.get("tool_calls") for m in messages):
            return self.own.turns(messages, thinking, generate)
        try:
            return self.template.render(
                messages=messages,
                add_generation_prompt=generate,
                thinking=thinking,
                bos_token=BOS,
                eos_token=EOS,
            )
        except Exception as error:  # a template is a program, and may fail in any way
            raise PromptError(
                f"The checkpoint's chat template cannot render these messages: {error}."
            ) from error

    def reasoning_open(self, thinking: bool | None = None) -> bool:
        """Read off the template itself."""
        text = self.turns([{"role": "user", "content": ""}], self.thinks(thinking), True)
        return text.rstrip().endswith("<think>")


def template_source(tokenizer_config: Mapping[str, Any] | None) -> str | None:
    """The chat template in a tokenizer_config.json, the default one of several."""
    source = (tokenizer_config or {}).get("chat_template")
    if isinstance(source, list):
        source = next((e.get("template") for e in source if e.get("name") == "default"), None)
    return source if isinstance(source, str) and source else None


def shipped(own: PromptFormat, source: str | None) -> PromptFormat:
    """`own`, rendering with the chat template `source` if there is one."""
    if source is None:
        return own
    return ShippedTemplate(
        id=own.id,
        stop=own.stop,
        thinking=own.thinking,
        tools=own.tools,
        fim_markers=own.fim_markers,
        json_instruction=own.json_instruction,
        schema_instruction=own.schema_instruction,
        blank_system=own.blank_system,
        source=source,
        own=own,
    )


def _json(value: Any, indent: int | None = None) -> str:
    """transformers' tojson: jinja's own writes HTML escapes."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> None:
    raise TemplateError(message)
