"""What users hand over, text, conversations, tokens and pictures, as one row of numbers."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import mlx.core as mx
from mlx_lm.tokenizer_utils import TokenizerWrapper

from mlx_deepseek.errors import CheckpointError, PromptError
from mlx_deepseek.loading import Loaded
from mlx_deepseek.models.vision_lm import VisionLM
from mlx_deepseek.prompts.markers import THINK_CLOSE, THINK_OPEN
from mlx_deepseek.prompts.messages import pictures, with_pictures
from mlx_deepseek.seeing import Eyes, Sights
from mlx_deepseek.structured import Grammars, JSONMask, Schema, Thoughts, unthought
from mlx_deepseek.vision.pictures import open_picture

Messages = Sequence[dict[str, Any]]
# A user's text, a conversation, or token ids [L].
Prompt = str | Messages | Sequence[int] | mx.array
# A path, bytes, a data URL or a Pillow image.
Picture = Any


@dataclass(frozen=True)
class Rendered:
    """A prompt's numbers; those below zero are slots of the pictures `sights`.

    It ends with what is `begun` of the answer, if anything is.
    """

    ids: list[int]
    sights: Sights = field(default_factory=dict)
    begun: str = ""


class Prompter:
    """Renders prompts for one loaded model."""

    def __init__(self, loaded: Loaded):
        self.name = loaded.name
        self.format = loaded.prompt_format
        self.folder = loaded.folder
        self._tokenizer = loaded.tokenizer
        self.eyes = Eyes(loaded.model) if isinstance(loaded.model, VisionLM) else None

    @property
    def modes(self) -> tuple[str, ...]:
        """The model's ways to cut pictures, by name."""
        return () if self.eyes is None else tuple(getattr(self.eyes.model.reader, "modes", ()))

    def at(self, mode: str) -> "Prompter":
        """The same with pictures cut in another of the model's modes.

        Raises:
            PromptError: the model has no modes, or reads no pictures.
            ImageError: it has none of that name.
        """
        reader: Any = self.eyes.model.reader if self.eyes is not None else None
        if self.eyes is None or not hasattr(reader, "at"):
            raise PromptError(f"{self.name} cuts pictures in one way only. Leave the mode out.")
        other = copy(self)
        other.eyes = Eyes(self.eyes.model, reader=reader.at(mode))
        return other

    @property
    def tokenizer(self) -> TokenizerWrapper:
        """mlx-lm's wrapper around the checkpoint's tokenizer.

        Raises:
            CheckpointError: the checkpoint has none; token ids still work.
        """
        if self._tokenizer is None:
            raise CheckpointError(
                f"{self.folder}: no tokenizer.json. Expected the checkpoint's tokenizer files; "
                "download them, or pass token ids."
            )
        return self._tokenizer

    def encode(self, text: str) -> list[int]:
        """Tokens of a rendered prompt: special tokens are written out in it, none are added."""
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def continued(self, text: str) -> list[int]:
        """Tokens of a text to go on from."""
        tokenizer: Any = self.tokenizer  # forwards to transformers' by name
        return self.encode((tokenizer.bos_token or "") + text)

    @property
    def fills(self) -> bool:
        """Whether there is a way to ask for what belongs between two texts."""
        return self._tokenizer is not None and self.format.fills(self.tokenizer)  # type: ignore[arg-type]

    def fill(self, prefix: str, suffix: str) -> list[int]:
        """Tokens that ask for what belongs between two texts; PromptError if the model cannot."""
        tokenizer: Any = self.tokenizer
        return self.format.fim_ids(tokenizer, prefix, suffix)

    def render(self, prompt: Prompt, images: Sequence[Picture] = (), **options: Any) -> Rendered:
        """A string is a user's message, or text to go on from; `images` open the last message.

        Raises:
            PromptError: the format cannot express it, or pictures for a model without eyes.
            ImageError: a picture cannot be read.
        """
        if isinstance(prompt, mx.array):
            prompt = prompt.reshape(-1).tolist()  # type: ignore[assignment]
        if isinstance(prompt, str):
            if not (self.format.supports_chat or images):
                return Rendered(self.continued(prompt))
            prompt = [{"role": "user", "content": prompt}]
        if len(prompt) and not isinstance(prompt[0], dict):
            ids: Any = prompt
            return self._placed(list(ids), images)
        messages: Any = shown(prompt, images) if images else prompt
        messages = self.format.relevant(messages) if messages else messages
        tokenizer: Any = self.tokenizer
        ids = self.format.render_ids(tokenizer, messages, **options)
        begun = self.format.begun(messages, options.get("thinking"))
        return replace(self._placed(ids, pictures(messages)), begun=begun)

    def mask(self, schema: Schema, begun: str, thinking: bool | None) -> JSONMask:
        """Lets an answer that has `begun` so be JSON of that schema only, after any reasoning.

        Raises:
            PromptError: the schema is wrong, or the answer's beginning does not fit it.
        """
        tokenizer: Any = self.tokenizer
        vocabulary = tokenizer.get_vocab()
        opens = THINK_OPEN if self.format.thinking == "model" else ""
        thoughts = Thoughts(
            self.format.reasoning_open(thinking),
            vocabulary.get(opens),
            vocabulary.get(THINK_CLOSE),
        )
        text, thoughts = unthought(begun, thoughts)
        return self._grammars.mask(schema, thoughts, self.encode(text))

    @cached_property
    def _grammars(self) -> Grammars:
        tokenizer: Any = self.tokenizer
        return Grammars(tokenizer, tokenizer.eos_token_ids)

    def embed(self, rendered: Rendered) -> Any:
        """What makes embeddings of parts of a prompt; None where it shows no pictures."""
        if self.eyes is None or not rendered.sights:
            return None
        return partial(self.eyes.embed, sights=rendered.sights)

    def _placed(self, ids: list[int], images: Sequence[Picture]) -> Rendered:
        if not images:
            return Rendered(ids)
        if self.eyes is None:
            raise PromptError(
                f"{self.name} reads no pictures. Send text only, or load a vision model "
                "(`mlx-deepseek models`)."
            )
        opened = [open_picture(image) for image in images]
        return Rendered(*self.eyes.place(ids, self._picture_token(), opened))

    def _picture_token(self) -> int | None:
        if self._tokenizer is None or self.format.picture is None:
            return None
        tokenizer: Any = self._tokenizer
        return tokenizer.get_vocab().get(self.format.picture)


def shown(messages: Any, images: Sequence[Picture]) -> list[dict[str, Any]]:
    """Messages of which the last one opens with pictures.

    Raises:
        PromptError: there is no message.
    """
    if not messages:
        raise PromptError("Expected a message for the pictures; got none.")
    *before, last = messages
    parts = [{"type": "image", "image": image} for image in images]
    return [*before, with_pictures(last, parts)]
