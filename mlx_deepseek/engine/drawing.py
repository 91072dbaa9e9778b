"""Drawing with a loaded model: its prompt's tokens, the VAE beside it, the best of several."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import mlx.core as mx
from PIL.Image import Image

from mlx_deepseek.checkpoint.converter import converter
from mlx_deepseek.checkpoint.load import DTYPES, Loaded, prepare
from mlx_deepseek.checkpoint.load_weights import load_model, load_source
from mlx_deepseek.errors import CheckpointError, DeepSeekError, PromptError
from mlx_deepseek.generation.prompt import PromptProcessor
from mlx_deepseek.image_generation import DrawProgress, DrawSettings, draw
from mlx_deepseek.image_generation.codes import draw_codes
from mlx_deepseek.image_generation.draw import AT_A_TIME, Method
from mlx_deepseek.image_generation.flow import draw_flow
from mlx_deepseek.image_generation.judge import first_tokens, question, share_of_yes
from mlx_deepseek.models import sizes
from mlx_deepseek.runtime import memory
from mlx_deepseek.runtime.device import compute_item_bytes

# JanusFlow was trained with this VAE, which its own repository has not (MIT licence, 335 MB).
VAE_REPO = "stabilityai/sdxl-vae"
PAD = "<｜▁pad▁｜>"


class Drawer:
    """Draws with one loaded model. Iterate what it returns on the thread that computes.

    `several`: other machines hold a part of it.
    """

    def __init__(self, loaded: Loaded, processor: PromptProcessor, *, several: bool = False):
        self.loaded = loaded
        self.several = several
        self.processor = processor
        self.way: str | None = getattr(loaded.model, "draws", None)
        self._vae: Any = None

    @property
    def defaults(self) -> DrawSettings | None:
        """The authors' values, None where the model draws nothing."""
        return None if self.way is None else DrawSettings().filled(self.way)

    def draw(
        self, prompt: str, seeds: range, settings: DrawSettings, *, preview_every: int, keep: int
    ) -> Iterator[DrawProgress]:
        """As `Engine.draw` describes; `keep` fewer pictures than seeds are the best ones.

        Raises:
            PromptError: the model draws nothing, or not on several machines, or the prompt is
                empty or too long.
            CheckpointError: JanusFlow's VAE is not there.
        """
        if self.way is None:
            raise PromptError(
                f"{self.loaded.name} draws no pictures. Load Janus-Pro, Janus or JanusFlow."
            )
        if self.several and self.way == "flow":
            raise PromptError(
                f"{self.loaded.name} draws on one machine only: each step reads the prompt's keys "
                "and values on all layers anew. Load it without --hosts."
            )
        chosen = settings.filled(self.way)
        tokenizer = self.processor.tokenizer
        ids = self.loaded.prompt_format.drawing_ids(tokenizer, prompt)
        self._require_room(len(ids))
        pad = tokenizer.token_id(PAD) or tokenizer.eos_token_id
        model: Any = self.loaded.model
        method: Method = partial(
            draw_codes if self.way == "codes" else self._draw_flow, model, ids, pad, **chosen.chosen
        )
        return draw(
            method,
            prompt,
            seeds,
            chosen,
            model=self.loaded.name,
            recipe=self._recipe(),
            at_a_time=self._at_a_time(len(ids)),
            preview_every=preview_every,
            judge=self._judge(prompt) if keep < len(seeds) else None,
            keep=keep,
        )

    def prepare(self) -> Callable[[], None]:
        """What to call on the thread that computes before anything is drawn."""
        if self.way != "flow" or self._vae is not None:
            return lambda: None
        own = self.loaded.folder / "vae"
        source = own if own.is_dir() else VAE_REPO
        dtype = self.loaded.dtype
        recipe = "bf16" if dtype is None and (source is not own or is_source(own)) else None
        try:
            found = prepare(source, recipe, dtype, None, None)
        except DeepSeekError as error:
            raise CheckpointError(
                f"{self.loaded.name} draws with the VAE {VAE_REPO}, which cannot be loaded: "
                f"{error} Put its config.json and diffusion_pytorch_model.safetensors into {own}."
            ) from error
        kind = DTYPES[dtype] if dtype else None

        def load() -> None:
            folder = found.found.folder
            if found.release is not None:
                assert kind is not None
                self._vae = load_source(folder, kind, found.release)[0]
            else:
                self._vae = load_model(folder, dtype=kind)[0]

        return load

    def _draw_flow(self, *args: Any, **options: Any) -> Any:
        return draw_flow(*args, decode=self._vae, **options)

    def _require_room(self, prompt_tokens: int) -> None:
        model: Any = self.loaded.model
        room = self.loaded.context_length - model.drawing_tokens
        if prompt_tokens > room:
            raise PromptError(
                f"{self.loaded.name}: the prompt has {prompt_tokens} tokens. Expected at most "
                f"{room}, to leave room for a picture's {model.drawing_tokens}; shorten it."
            )

    def _at_a_time(self, prompt_tokens: int) -> int:
        """Pictures whose rows' caches fit beside what is in memory; one at least."""
        model: Any = self.loaded.model
        token = sizes.cache_bytes_per_token(model, self.loaded.config, compute_item_bytes())
        picture = 2 * token * (prompt_tokens + model.drawing_tokens)
        machine = memory.machine_memory_bytes()
        room = memory.fits(mx.get_active_memory(), picture, machine, AT_A_TIME).context
        return max(1, room)

    def _recipe(self) -> str | None:
        try:
            text = (self.loaded.folder / "conversion.json").read_text(encoding="utf-8")
            return str(json.loads(text)["recipe"])
        except (OSError, ValueError, KeyError, TypeError):
            return self.loaded.dtype

    def _judge(self, prompt: str) -> Callable[[Image], float]:
        tokens = first_tokens(self.processor.tokenizer.encode)
        model: Any = self.loaded.model

        def judge(picture: Image) -> float:
            asked = self.processor.encode(question(prompt), [picture])
            embed: Any = self.processor.embed(asked)
            hidden = model.language.model(None, None, embed(asked.ids))
            return share_of_yes(model.language.lm_head(hidden[0, -1]), tokens)

        return judge


def is_source(folder: Any) -> bool:
    """Whether a folder holds a release's files."""
    return converter().open(folder).is_release
