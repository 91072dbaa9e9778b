"""A loaded model with its tokenizer and prompt format: everything text goes through here."""

from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.tokenizer_utils import TokenizerWrapper

from mlx_deepseek.cache.prompt_cache import PromptCache
from mlx_deepseek.cache.saved_cache import fill_cache, save_cache
from mlx_deepseek.checkpoint.load import Loaded
from mlx_deepseek.checkpoint.load_weights import evaluate
from mlx_deepseek.distributed.followers import ModelFollowers
from mlx_deepseek.engine.answering import Answering
from mlx_deepseek.engine.caching import Caches
from mlx_deepseek.engine.drawing import Drawer
from mlx_deepseek.errors import PromptError
from mlx_deepseek.generation.dispatcher import Dispatcher
from mlx_deepseek.generation.options import Picture
from mlx_deepseek.generation.prompt import PromptProcessor
from mlx_deepseek.generation.scheduler import Scheduler
from mlx_deepseek.image_generation import DrawProgress, DrawSettings
from mlx_deepseek.image_generation.settings import MOST_PICTURES, MOST_PREVIEW, check, picture_seeds
from mlx_deepseek.layers.expert_slots import Traffic
from mlx_deepseek.layers.streamed_experts import traffic
from mlx_deepseek.runtime.compute_thread import ComputeThread, preparing_worker

if TYPE_CHECKING:
    from mlx_deepseek.documents.read import ReadPage
    from mlx_deepseek.proving import Proof


class Engine(Answering):
    """Generates text; any thread may call it, computation happens on one thread.

    `model` and `tokenizer` work in mlx-lm's functions. `entry` is the catalog's, or None. Closing
    it, as leaving a `with` block does, gives its memory back.
    """

    def __init__(
        self,
        loaded: Loaded,
        worker: ComputeThread,
        caches: Caches,
        followers: ModelFollowers | None = None,
    ):
        self.name: str = loaded.name
        self.folder: Path = loaded.folder
        self.config: dict[str, Any] = loaded.config
        self.model: nn.Module = loaded.model
        self.prompt_format = loaded.prompt_format
        self.entry = loaded.entry
        self.context_length: int = loaded.context_length
        self.suggestions: list[str] = list(loaded.suggestions)
        self.processor = PromptProcessor(loaded)
        self._worker = worker
        self._caches: Any = caches
        self._followers = followers
        scheduler = Scheduler(loaded.model, caches)
        if followers is not None:
            scheduler.explained = followers.group.explained
            followers.group.when_lost.append(scheduler.end_all)
        self._dispatcher: Any = Dispatcher(worker, scheduler)
        self._drawer: Any = Drawer(loaded, self.processor, several=followers is not None)

    def __repr__(self) -> str:
        kind = self.config.get("model_type", "?")
        state = "closed" if self._caches is None else f"{self.context_length:,} tokens of context"
        return f"<Engine {self.name}: {kind}, {self.prompt_format.id}, {state}>"

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Give the model's memory back; whoever asks afterwards gets a PromptError."""
        if self._caches is not None:
            group = None if self._followers is None else self._followers.group
            if group is None or group.lost is None:
                self._worker.call(self._release)
            else:  # MLX waits for the lost machine before it frees anything
                group.unfinished.append((self.model, self._caches, self._dispatcher))
                self._caches = None

    @property
    def traffic(self) -> Traffic | None:
        """What experts on disk have cost so far: uses, misses, bytes, seconds of waiting.

        None where all of the model is in memory.
        """
        seen = traffic(self.model)
        return None if seen is None else replace(seen)

    @property
    def tokenizer(self) -> TokenizerWrapper:
        """mlx-lm's wrapper around the checkpoint's tokenizer.

        Raises:
            CheckpointError: the checkpoint has none; token ids still work.
        """
        return self.processor.tokenizer.for_mlx_lm

    @property
    def followers(self) -> ModelFollowers | None:
        """The machines that have other parts of the model."""
        return self._followers

    @property
    def sees(self) -> bool:
        """Whether prompts may have pictures, and documents can be read."""
        return self.processor.images is not None

    @property
    def modes(self) -> tuple[str, ...]:
        """Names for `read`'s option `mode`; none where pictures are cut in one way only."""
        return self.processor.modes

    @property
    def fills(self) -> bool:
        """Whether `complete` takes a suffix."""
        return self.processor.fills

    def new_cache(self) -> PromptCache:
        """An empty prompt cache, for the option `prompt_cache`."""
        self._open()
        return self._caches.new()

    def save_cache(self, cache: PromptCache, path: str | Path) -> None:
        """Write a prompt cache to a file, for `load_cache` after a restart.

        Raises:
            PromptError: it is empty, or in use.
            ConfigError: this architecture's caches cannot be written (V4).
            OSError: the file cannot be written; an older one stays as it was.
        """
        self._open()
        self._worker.call(save_cache, cache, Path(path).expanduser(), self._caches.key)

    def load_cache(self, path: str | Path) -> PromptCache:
        """What `save_cache` wrote, for the option `prompt_cache`.

        Raises:
            CheckpointError: the file is missing or damaged, or is of another version or model.
        """
        cache = self.new_cache()
        self._worker.call(fill_cache, cache, Path(path).expanduser(), self._caches.key)
        return cache

    def read(
        self,
        *sources: Picture | Sequence[Picture],
        mode: str | None = None,
        batch: int = 4,
        max_tokens: int | None = None,
        **options: Any,
    ) -> "Generator[ReadPage]":
        """The pages of PDFs and pictures as they are read, `batch` at a time.

        `mode` names how pages are cut; `options` as in `documents.read`: `prompt`, `password`,
        `wanted`. Pages that cannot be read come with an error; the others follow.

        Raises:
            PromptError: the model reads no pictures, or the prompt is empty.
            ImageError: the model does not have this mode.
        """
        from mlx_deepseek.documents.read import read
        from mlx_deepseek.documents.transcribe import ModelTranscriber

        self._open()
        files: list[Any] = []
        for source in sources:
            files += source if isinstance(source, (list, tuple)) else [source]
        transcriber = ModelTranscriber(
            self.model,
            self._dispatcher,
            self.processor,
            self.context_length,
            rows=batch,
            mode=mode,
            max_tokens=max_tokens,
        )
        evaluate(self.model)
        return read(transcriber, files, **options)

    def prove(self, statement: str, **options: Any) -> "Proof":
        """Look for a proof of a Lean statement that ends with `:= by`; the user's Lean judges.

        Tactics are tried first, then this model by `method` "sample", "tree" (RMaxTS, for models
        that go on with a proof) or "sketch". Options as in `proving.Search` and
        `proving.prove_with_model`: `context`, `lean` or `project`, `filler` (an engine), `cot`,
        `attempts`, `seed`, `timeout_s`, `journal`, `progress`, `stop`.

        Raises:
            LeanError: no Lean, a missing library, or a statement that Lean does not accept.
        """
        from mlx_deepseek.proving import prove_with_model

        return prove_with_model(self, statement, **options)

    @property
    def draws(self) -> bool:
        """Whether `draw` makes pictures."""
        return self.draw_defaults is not None

    @property
    def draw_defaults(self) -> DrawSettings | None:
        """The authors' values for all that `draw` can be told; None: the model draws nothing."""
        return self._drawer.defaults

    def draw(
        self,
        prompt: str,
        n: int = 1,
        *,
        seed: int | None = None,
        guidance: float | None = None,
        temperature: float | None = None,
        steps: int | None = None,
        best_of: int | None = None,
        preview_every: int = 0,
    ) -> Generator[DrawProgress]:
        """The progress of `n` pictures of a text; the last one has the pictures.

        The first picture's seed is `seed` (None: a random one), each further one has the next; a
        picture is the same alone and among others. `guidance` exaggerates what the prompt adds,
        `temperature` (Janus) and `steps` (JanusFlow) are as in `DrawSettings`; None takes the
        authors' values. With `best_of` so many are drawn, and the model itself chooses the `n` that
        answer the prompt best. After every `preview_every` tokens or steps (0: never) there are
        previews. Closing the generator stops within one token or step.

        Raises:
            PromptError: the model draws no pictures, a value is outside its range, or the prompt is
                empty or too long.
            CheckpointError: JanusFlow's VAE is not there and cannot be fetched.
        """
        settings = DrawSettings(guidance=guidance, temperature=temperature, steps=steps)
        check("best_of", best_of, n, MOST_PICTURES)
        check("preview_every", preview_every, 0, MOST_PREVIEW)
        seeds = picture_seeds(seed, best_of or n)
        options = {"preview_every": preview_every, "keep": n}
        drawing = self._drawer.draw(prompt, seeds, settings, **options)
        self._worker.call(preparing_worker().call(self._drawer.prepare))
        evaluate(self.model)
        return self._worker.iterate(drawing)

    def encode(self, text: str) -> list[int]:
        """Tokens of a rendered prompt: special tokens are written out in it, none are added."""
        return self.processor.tokenizer.encode(text)

    def _open(self) -> None:
        if self._caches is None:
            raise PromptError(f"{self.name}: this engine is closed. Load the model again.")
        if self._followers is not None and self._followers.group.lost is not None:
            raise self._followers.group.lost

    def _release(self) -> None:
        closed = PromptError(f"{self.name}: this engine is closed. Load the model again.")
        self._dispatcher.scheduler.close(closed)
        if self._followers is not None:
            self._followers.group.when_lost.remove(self._dispatcher.scheduler.end_all)
            self._followers.unload()
        self._caches = self._dispatcher = self._drawer = self._followers = None
        self.model = nn.Module()
        self.processor.images = None
        mx.clear_cache()
