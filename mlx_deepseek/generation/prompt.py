"""What users hand over, text, conversations, tokens and pictures, as one row of numbers."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import PurePath
from typing import Any

import mlx.core as mx

from mlx_deepseek.checkpoint.load import Loaded
from mlx_deepseek.checkpoint.tokenizer import Tokenizer
from mlx_deepseek.errors import CheckpointError, PromptError
from mlx_deepseek.generation.grammar import GrammarMask, Grammars, Schema, Thoughts, unthought
from mlx_deepseek.generation.no_repeat import NoRepeat, for_vocabulary
from mlx_deepseek.generation.prompt_images import PlacedImages, PromptImages
from mlx_deepseek.generation.tool_choice import ToolChoice
from mlx_deepseek.generation.written import WrittenTokens
from mlx_deepseek.models import language_config
from mlx_deepseek.models.vision_lm import ImageModel
from mlx_deepseek.prompts.control_tokens import encode
from mlx_deepseek.prompts.format import RenderedPrompt
from mlx_deepseek.prompts.messages import with_pictures
from mlx_deepseek.prompts.special_tokens import THINK_CLOSE, THINK_OPEN
from mlx_deepseek.vision.image_file import open_picture

Messages = Sequence[dict[str, Any]]
# A user's text, a conversation, or token ids [L].
Prompt = str | Messages | Sequence[int] | mx.array


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt's numbers; those below zero are places of `images`.

    `rendered` is the conversation that they write, None of a text to go on from.
    """

    ids: list[int]
    images: PlacedImages = field(default_factory=dict)
    rendered: RenderedPrompt | None = None


class PromptProcessor:
    """Encodes prompts for one loaded model."""

    def __init__(self, loaded: Loaded):
        self.name = loaded.name
        self.format = loaded.prompt_format
        self.folder = loaded.folder
        self.images = PromptImages(loaded.model) if isinstance(loaded.model, ImageModel) else None
        self._tokenizer = loaded.tokenizer
        self._written = WrittenTokens()
        self._vocabulary = language_config(loaded.config).get("vocab_size")

    @property
    def tokenizer(self) -> Tokenizer:
        """The checkpoint's tokenizer.

        Raises:
            CheckpointError: the checkpoint has none; token ids still work.
        """
        if self._tokenizer is None:
            raise CheckpointError(
                f"{self.folder}: no tokenizer.json. Expected the checkpoint's tokenizer files; "
                "download them, or pass token ids."
            )
        return self._tokenizer

    @property
    def modes(self) -> tuple[str, ...]:
        """The model's ways to cut pictures, by name."""
        return () if self.images is None else tuple(getattr(self.images.model.reader, "modes", ()))

    @property
    def fills(self) -> bool:
        """Whether there is a way to ask for what belongs between two texts."""
        return self._tokenizer is not None and self.format.fills(self._tokenizer)

    def with_mode(self, mode: str) -> "PromptProcessor":
        """The same with pictures cut in another of the model's modes.

        Raises:
            PromptError: the model has no modes, or reads no pictures.
            ImageError: it has none of that name.
        """
        reader: Any = self.images.model.reader if self.images is not None else None
        if self.images is None or not hasattr(reader, "at"):
            raise PromptError(f"{self.name} cuts pictures in one way only. Leave the mode out.")
        other = copy(self)
        other.images = PromptImages(self.images.model, reader=reader.at(mode))
        return other

    def encode(self, prompt: Any, images: Any = (), **options: Any) -> EncodedPrompt:
        """A string is a user's message, or text to go on from; `images` open the last message.

        `options` as in `PromptFormat.prompt`.

        Raises:
            PromptError: the format cannot express it, or pictures for a model without an encoder.
            ImageError: a picture cannot be read.
        """
        prompt, images = plain_prompt(prompt), plain_images(images)
        if isinstance(prompt, str):
            if not (self.format.supports_chat or images):
                return EncodedPrompt(self.continued(prompt))
            prompt = [{"role": "user", "content": prompt}]
        if len(prompt) and not isinstance(prompt[0], Mapping):
            return self._placed(self._checked(prompt), images)
        messages: Any = with_images(prompt, images) if images else prompt
        messages = self.format.relevant(messages) if messages else messages
        rendered = self.format.prompt(messages, self.tokenizer.controls, **options)
        if self.pages_only and not rendered.pictures:
            raise PromptError(
                f"{self.name} reads pages, and cannot answer without one. Give a picture with the "
                "question, or load a model that chats (`mlx-deepseek models`)."
            )
        ids = self._written.encode(rendered.text, partial(encode, self.tokenizer))
        return self._placed(ids, rendered.pictures, rendered)

    def note(self, prompt: EncodedPrompt, written: Sequence[int]) -> None:
        """Remember the tokens of an answer, for the day when the conversation comes back."""
        if prompt.rendered is not None and not prompt.images:
            text = prompt.rendered.text + self.tokenizer.decode(written)
            self._written.note(text, [*prompt.ids, *written])

    def continued(self, text: str) -> list[int]:
        """Tokens of a text to go on from, after one BOS."""
        bos = self.tokenizer.bos_token or ""
        return self.tokenizer.encode(bos + text.removeprefix(bos))

    def fill(self, prefix: str, suffix: str) -> list[int]:
        """Tokens that ask for what belongs between two texts; PromptError if the model cannot."""
        return self.format.fim_ids(self.tokenizer, prefix, suffix)

    def mask(
        self, schema: Schema | None, prompt: EncodedPrompt, choice: ToolChoice | None = None
    ) -> GrammarMask | None:
        """Lets the answer to `prompt` be JSON of that schema only, or calls, after any reasoning.

        Calls are as `choice` wants them; they stand alone where it requires them. None: any answer
        is possible.

        Raises:
            PromptError: a schema is wrong, or the answer's beginning does not fit it.
        """
        markup = self.format.tools
        choice = choice if choice is not None and choice.constrains and markup else None
        if choice is None and schema is None:
            return None
        text, thoughts = self._begun(prompt)
        if choice is None or markup is None:
            assert schema is not None
            return self._grammars.mask(schema, thoughts, self.tokenizer.encode(text))
        rules = self._grammars.rules()
        if schema is None and not choice.required:
            marker = markup.around[0].strip()
            start = choice.rule(rules, markup, marker)
            return self._grammars.rules_mask(rules, start, Thoughts(), marker)
        start = choice.rule(rules, markup)
        if schema is not None and not choice.required:
            start = rules.choice([start, rules.json(schema)])
        return self._grammars.rules_mask(rules, start, thoughts)

    def _begun(self, prompt: EncodedPrompt) -> tuple[str, Thoughts]:
        """What of the answer is there, and what reasoning may still come."""
        opens = THINK_OPEN if self.format.thinking == "model" else None
        start = prompt.rendered or RenderedPrompt("")
        return unthought(
            start.begun,
            Thoughts(
                start.opened, self.tokenizer.token_id(opens), self.tokenizer.token_id(THINK_CLOSE)
            ),
        )

    def embed(self, prompt: EncodedPrompt) -> Callable[[Sequence[int]], mx.array] | None:
        """What makes embeddings of parts of a prompt; None where it shows no pictures."""
        if self.images is None or not prompt.images:
            return None
        return partial(self.images.embed, images=prompt.images)

    @property
    def pages_only(self) -> bool:
        """Whether the model was trained on pages and nothing else."""
        return self.images is not None and self.images.model.pages_only

    @cached_property
    def guard(self) -> NoRepeat | None:
        """What keeps a reader of pages from going in circles; None for other models."""
        if self._tokenizer is None or not self.pages_only:
            return None
        return for_vocabulary(self._tokenizer.get_vocab())

    @cached_property
    def _grammars(self) -> Grammars:
        return Grammars(self.tokenizer)

    def _checked(self, ids: Sequence[Any]) -> list[int]:
        """Token ids that the model has."""
        end = self._vocabulary or 1 << 31
        for place, token in enumerate(ids):
            if isinstance(token, bool) or not hasattr(token, "__index__") or not 0 <= token < end:
                raise PromptError(
                    f"Token {place} of the prompt is {token!r:.60}. Expected a text, a list of "
                    f"messages, or whole numbers from 0 to {end - 1}, which {self.name} knows."
                )
        return [int(token) for token in ids]

    def _placed(
        self, ids: list[int], images: Sequence[Any], rendered: RenderedPrompt | None = None
    ) -> EncodedPrompt:
        if not images:
            return EncodedPrompt(ids, rendered=rendered)
        if self.images is None:
            raise PromptError(
                f"{self.name} reads no pictures. Send text only, or load a vision model "
                "(`mlx-deepseek models`)."
            )
        opened = [open_picture(image) for image in images]
        token = self._tokenizer and self._tokenizer.token_id(self.format.picture)
        return EncodedPrompt(*self.images.place(ids, token, opened), rendered)


def plain_prompt(prompt: Any) -> Any:
    """A prompt as a text or a list.

    Raises:
        PromptError: it is neither, nor means one.
    """
    if isinstance(prompt, (bytes, bytearray)):
        return prompt.decode("utf-8", "replace")
    if isinstance(prompt, Mapping):
        return [prompt]
    if not isinstance(prompt, str) and hasattr(prompt, "tolist"):  # numpy's and MLX's arrays
        prompt = prompt.reshape(-1).tolist()
    if isinstance(prompt, tuple):
        return list(prompt)
    if isinstance(prompt, (str, list)):
        return prompt
    raise PromptError(
        f"The prompt is {prompt!r:.60}. Expected a text, a list of messages like "
        '{"role": "user", "content": "..."}, or a list of token numbers.'
    )


def plain_images(images: Any) -> list[Any]:
    """Pictures as a list; one alone is taken, too."""
    if images is None:
        return []
    if isinstance(images, (str, bytes, PurePath, Mapping)) or not hasattr(images, "__iter__"):
        return [images]
    return list(images)


def with_images(messages: Any, images: Sequence[Any]) -> list[dict[str, Any]]:
    """Messages of which the last one opens with pictures.

    Raises:
        PromptError: there is no message.
    """
    if not messages or not isinstance(messages[-1], Mapping):
        raise PromptError("Expected a message for the pictures; got none.")
    *before, last = messages
    parts = [{"type": "image", "image": image} for image in images]
    return [*before, with_pictures(last, parts)]
