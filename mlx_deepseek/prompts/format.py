"""What every prompt format offers: messages in, text out, and how to read the answer."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlx_deepseek.errors import PromptError
from mlx_deepseek.prompts.control_tokens import (
    GUARD,
    PromptTokenizer,
    control_tokens,
    encode,
    guard,
    guarded,
    well_formed,
)
from mlx_deepseek.prompts.fill_in_middle import FillInMiddle
from mlx_deepseek.prompts.messages import (
    PICTURE,
    Message,
    check,
    check_tools,
    extend_system,
    open_system,
    pictures,
)
from mlx_deepseek.prompts.parser import OutputParser
from mlx_deepseek.prompts.prefix_completion import begin, opens_reasoning, split
from mlx_deepseek.prompts.special_tokens import EOS
from mlx_deepseek.prompts.tools import ToolMarkup

# DeepSeek-V2.5's model card; the API's JSON mode adds the same.
JSON_INSTRUCTION = "## Response Format\n\nReply with JSON object ONLY."
# Ours: no release before V3.2 has words for a schema.
SCHEMA_INSTRUCTION = JSON_INSTRUCTION + " It must fit this JSON schema:\n{schema}"


@dataclass(frozen=True)
class RenderedPrompt:
    """A conversation as text that is to be encoded by `control_tokens.encode`.

    It ends with what is `begun` of the answer, which starts inside reasoning where that is
    `opened`. One special token stands for each of `pictures`.
    """

    text: str
    begun: str = ""
    opened: bool = False
    pictures: tuple[Any, ...] = ()


@dataclass(frozen=True)
class PromptFormat(FillInMiddle):
    """A family's prompts, exact to the token.

    `thinking` says who decides: "never", "always" (the prompt opens the block), "optional" (the
    caller does), "model" (the model opens the block itself). `json_instruction` asks for JSON,
    `schema_instruction` for JSON of a {schema}; `blank_system`: instructions follow a blank line
    even where there is no system prompt. `picture` is the token that stands for a picture, of which
    `picture_text` is written with what surrounds it (empty: nothing), and `gap` separates pictures
    that open a message from its text, `joint` all parts of a message from each other;
    `user_may` are control tokens that messages may contain. After `begins_drawing` a picture is
    drawn. `efforts` are texts by which reasoning is asked to be long or short, put before the
    system prompt; `effort` names the default one. `roles` are known besides the usual.
    """

    stop: tuple[str, ...] = (EOS,)
    thinking: str = "never"
    tools: ToolMarkup | None = None
    json_instruction: str = JSON_INSTRUCTION
    schema_instruction: str = SCHEMA_INSTRUCTION
    blank_system: bool = False
    picture: str | None = None
    picture_text: str = ""
    begins_drawing: str | None = None
    gap: str = ""
    joint: str = ""
    user_may: tuple[str, ...] = ()
    efforts: Mapping[str, str] = field(default_factory=dict, hash=False)
    effort: str = ""
    roles: tuple[str, ...] = ()

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
        effort: str | None = None,
    ) -> str:
        """The prompt of a conversation, BOS included; `json_output` asks for JSON, or for a schema.

        `effort` is one of `efforts`, of the reasoning; None: the default.

        A last message of the assistant with "prefix" true is gone on with. Control tokens that
        users typed are as good as the format's own in it: encode untrusted conversations with
        `render_ids`.

        Raises:
            PromptError: the format cannot express the messages.
        """
        options: Any = {
            "tools": tools,
            "thinking": thinking,
            "add_generation_prompt": add_generation_prompt,
            "json_output": json_output,
            "effort": effort,
        }
        return self.prompt(messages, **options).text.replace(GUARD, "")

    def render_ids(
        self, tokenizer: PromptTokenizer, messages: Sequence[Message], **options: Any
    ) -> list[int]:
        """Token numbers of `render`, with control tokens in messages and tools as plain text.

        One token stands for each picture.
        """
        controls = control_tokens(tokenizer)
        return encode(tokenizer, self.prompt(messages, controls, **options).text)

    def prompt(
        self,
        messages: Sequence[Message],
        controls: Sequence[str] = (),
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        thinking: bool | None = None,
        add_generation_prompt: bool = True,
        json_output: bool | Mapping[str, Any] = False,
        effort: str | None = None,
    ) -> RenderedPrompt:
        """A conversation rendered, with guards in those of `controls` that its texts contain.

        Raises:
            PromptError: the format cannot express the messages.
        """
        controls = [control for control in controls if control not in self.user_may]
        checked = [guard(message, controls) for message in self._checked(messages)]
        turns, answer = split(checked)
        turns = self._instructed(turns, guarded(well_formed(tools), controls), json_output)
        asked = self._effort_text(effort)
        turns = open_system(turns, asked) if asked and self.thinks(thinking) else turns
        generate = add_generation_prompt or answer is not None
        text = self.turns(turns, self.thinks(thinking), generate)
        opened = self.supports_thinking and opens_reasoning(text)
        begun = begin(answer, text, self.thinking == "model") if answer else ""
        text = (text + begun).replace(PICTURE, self.picture_text or self.picture or "")
        return RenderedPrompt(text, begun.replace(GUARD, ""), opened, tuple(pictures(messages)))

    def _checked(self, messages: Sequence[Message]) -> list[Message]:
        by_value = self.tools is not None and self.tools.by_value
        gap = self.gap if self.supports_images else None
        joint, place = self.joint, self.picture
        return check(
            messages, decoded=by_value, gap=gap, joint=joint, place=place, roles=self.roles
        )

    def _instructed(
        self, messages: Sequence[Message], tools: Any, schema: bool | Mapping[str, Any]
    ) -> Sequence[Message]:
        """Messages whose system prompt describes the tools, and asks for JSON."""
        if self.tools is None and (tools or any(m.get("tool_calls") for m in messages)):
            raise PromptError(
                f"Prompt format {self.id!r} has no tool calls. Describe the tools in a "
                "message, or use V3-0324, R1-0528, V3.1 or a later model."
            )
        instructions = []
        if self.tools is not None and tools:
            check_tools(tools)
            instructions.append(self.tools.describe(tools))
        if isinstance(schema, Mapping):
            text = json.dumps(schema, ensure_ascii=False)
            instructions.append(self.schema_instruction.replace("{schema}", text))
        elif schema:
            instructions.append(self.json_instruction)
        if instructions:
            messages = extend_system(messages, instructions, blank=self.blank_system)
        return [{**messages[0], "tools": tools}, *messages[1:]] if tools else messages

    def _effort_text(self, effort: str | None) -> str:
        if effort is not None and effort not in self.efforts:
            known = ", ".join(self.efforts) or "none: this model's reasoning has no levels"
            raise PromptError(f"Reasoning effort is {effort!r}. Expected one of {known}.")
        return self.efforts.get(effort or self.effort, "")

    def drawing_ids(self, tokenizer: PromptTokenizer, prompt: str) -> list[int]:
        """Token numbers that ask for a picture; the last one begins it.

        Raises:
            PromptError: the model draws no pictures.
        """
        raise PromptError(
            f"Prompt format {self.id!r} draws no pictures. Load Janus-Pro, Janus or JanusFlow."
        )

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
        """Whether the prompt of a first question ends inside a reasoning block."""
        if not self.supports_thinking:
            return False
        asked = [{"role": "user", "content": ""}]
        return opens_reasoning(self.turns(asked, self.thinks(thinking), True))

    def parser(
        self,
        thinking: bool | None = None,
        *,
        prompt: RenderedPrompt | None = None,
        stops: Iterable[str] = (),
        calls: bool = True,
        in_pieces: bool = False,
    ) -> OutputParser:
        """A fresh streaming reader of the answer to `prompt`; None: to a first question.

        Without `calls`, their markup is text; `in_pieces`, they come as they are written.
        """
        parser = OutputParser(
            reasoning=self.supports_thinking,
            opened=self.reasoning_open(thinking) if prompt is None else prompt.opened,
            tools=self.tools if calls else None,
            in_pieces=in_pieces,
            trim=self.supports_chat,
            stops=stops,
        )
        if prompt is not None and prompt.begun:
            parser.resume(prompt.begun)
        return parser
