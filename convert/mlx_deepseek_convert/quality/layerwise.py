"""A checkpoint run part by part: one decoder layer's values in memory at a time.

All sequences pass a layer before the next one is read, so that a model larger than memory can be
measured; what stays are the hidden states, [B, L, D] per batch. Of a model that sees, its language
model is run; the encoders are in memory while pictures are read.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_unflatten

from mlx_deepseek import models
from mlx_deepseek.checkpoint.files import read_config, weight_files
from mlx_deepseek.checkpoint.load_weights import cast, quantize, read_weights
from mlx_deepseek.checkpoint.mlx_vlm_names import renamed
from mlx_deepseek.checkpoint.safetensors_header import read_header
from mlx_deepseek.errors import CheckpointError, ConfigError
from mlx_deepseek.generation.prompt_images import PromptImages
from mlx_deepseek.layers.step import Step
from mlx_deepseek.models import layout
from mlx_deepseek.models.vision_lm import VisionLM
from mlx_deepseek.runtime.cpu import parallelise
from mlx_deepseek.vision.picture_slots import model_token
from mlx_deepseek_convert.mapping.steps import make_steps
from mlx_deepseek_convert.mapping.validate import MappingStep
from mlx_deepseek_convert.quality.states import State, run_layer
from mlx_deepseek_convert.quality.texts import ScoredBatch
from mlx_deepseek_convert.source.checkpoint import open_source
from mlx_deepseek_convert.source.find import is_source

Read = Callable[[str], Mapping[str, mx.array]]  # a module's path to its values, names in full
Progress = Callable[[int, int], None]  # layers done, layers in total

PART = re.compile(r"((?:language\.)?model\.layers\.\d+|.*(?=\.)).*")
ENDS = "model.hc_head"  # of a residual stream with copies
LANGUAGE, VISION = "language", "vision"  # of models that see: the language model, and all the rest


def no_progress(done: int, total: int) -> None:
    """Report no progress."""


class LayerwiseModel:
    """A checkpoint in Hugging Face or MLX layout; MTP layers are left out."""

    def __init__(self, folder: Path, dtype: mx.Dtype = mx.float32, *, unquantized: bool = False):
        """Read config and headers; `unquantized` multiplies out what is stored as codes.

        Raises:
            CheckpointError, ConfigError: as converting or loading the folder would.
        """
        self.folder, self.dtype = folder, dtype
        plain = unquantized or is_source(folder)
        self.model, self._read = _source(folder) if plain else _converted(folder)
        self.sees = isinstance(self.model, VisionLM)
        self.hyper = getattr(getattr(self.model, "args", None), "hyper", None)
        self.ends = None if self.hyper is None else get_submodule(self.model, ENDS)
        if self.hyper is not None and any("engram" in layer for layer in self.model.layers):
            raise ConfigError(
                f"{folder}: a model with Engram tables is not run layer by layer, which would read "
                "the whole tables. Convert it by a recipe of its own, and compare its answers."
            )
        root = f"{LANGUAGE}." if self.sees else ""
        self.embedding, self.norm = f"{root}model.embed_tokens", f"{root}model.norm"
        self.layers = [f"{root}model.layers.{i}" for i in range(len(self.model.layers))]
        self.tied = "lm_head" not in (self.model.language if self.sees else self.model)
        self.head = self.embedding if self.tied else f"{root}lm_head"
        if mx.default_device().type == mx.DeviceType.cpu:
            parallelise(self.model)

    @contextmanager
    def part(self, path: str) -> Iterator[Any]:
        """The module at `path` with its values, which leave memory with the block.

        Raises:
            CheckpointError: the values are not those of the module.
        """
        module = get_submodule(self.model, path)
        empty = module.parameters()
        start = f"{path}."
        values = {name.removeprefix(start): value for name, value in self._values(path).items()}
        try:
            module.load_weights(list(values.items()))
        except ValueError as error:
            raise CheckpointError(f"{self.folder}: {path} cannot be read: {error}") from error
        mx.eval(module.parameters())
        del values
        try:
            yield module
        finally:
            module.update(empty)
            mx.clear_cache()

    def _values(self, path: str) -> dict[str, mx.array]:
        return {name: cast(name, value, self.dtype) for name, value in self._read(path).items()}

    def embed(self, batches: Sequence[ScoredBatch]) -> list[mx.array]:
        """What the first layer gets, [B, L, D] for each batch; pictures take their places in it."""
        with self.part(self.embedding) as embedding:
            if not any(batch.images for batch in batches):
                return evaluated([embedding(batch.ids).astype(self.dtype) for batch in batches])
            with self._vision():
                encoder = PromptImages(self.model)
                embedded = [
                    mx.concatenate([encoder.embed(row, batch.images) for row in rows_of(batch.ids)])
                    for batch in batches
                ]
                return evaluated([state.astype(self.dtype) for state in embedded])

    @contextmanager
    def _vision(self) -> Iterator[None]:
        """The values of everything but the language model."""
        children = {name: self.model[name] for name in self.model if name != LANGUAGE}
        empty = {name: _parameters(child) for name, child in children.items()}
        self.model.update(tree_unflatten(list(self._values(VISION).items())))
        try:
            yield
        finally:
            self.model.update(empty)
            mx.clear_cache()

    def begin(self, batches: Sequence[ScoredBatch], embedded: Sequence[mx.array]) -> list[State]:
        """What the first layer gets of embeddings [B, L, D] of the batches."""
        pairs = zip(batches, embedded, strict=True)
        steps = [Step.of(told(batch.ids), state) for batch, state in pairs]
        streams = embedded if self.ends is None else [self.ends.begin(one) for one in embedded]
        return [State(stream, step) for stream, step in zip(streams, steps, strict=True)]

    def finish(self, states: Sequence[State]) -> list[mx.array]:
        """Hidden states after the final norm [B, L, D] of what the last layer has left."""
        streams = [state.stream for state in states]
        if self.ends is not None:
            with self.part(ENDS) as ends:
                streams = evaluated([ends(stream) for stream in streams])
        with self.part(self.norm) as norm:
            return evaluated([norm(stream) for stream in streams])

    def hidden(
        self, batches: Sequence[ScoredBatch], progress: Progress = no_progress
    ) -> list[mx.array]:
        """Hidden states after the final norm, [B, L, D] for each batch."""
        states = self.begin(batches, self.embed(batches))
        for done, path in enumerate(self.layers):
            with self.part(path) as layer:
                states = run_layer(layer, states)
            progress(done + 1, len(self.layers))
        return self.finish(states)

    def project(self, head: Any, state: mx.array) -> mx.array:
        """Float32 logits [..., vocab] of hidden states [..., D], by the part `self.head`."""
        return (head.as_linear(state) if self.tied else head(state)).astype(mx.float32)


def told(ids: mx.array) -> mx.array:
    """Numbers of a prompt as the model is told them."""
    return mx.array([[model_token(number) for number in row] for row in rows_of(ids)])


def evaluated(arrays: list[mx.array]) -> list[mx.array]:
    """The same arrays, evaluated: pending ones would keep weights in memory."""
    mx.eval(arrays)
    return arrays


def rows_of(ids: mx.array) -> list[list[int]]:
    """Each sequence's numbers."""
    return np.array(ids).tolist()


def get_submodule(module: Any, path: str) -> Any:
    """The submodule at a dotted path."""
    for name in path.split("."):
        module = module[int(name)] if isinstance(module, list) else module[name]
    return module


def part_of(name: str, sees: bool = False) -> str:
    """The path of the part that a parameter is read with: its layer, or else its module."""
    if sees and not name.startswith(f"{LANGUAGE}."):
        return VISION
    return PART.sub(r"\1", name)


def _parameters(child: Any) -> Any:
    return child.parameters() if isinstance(child, nn.Module) else child


def main_config(folder: Path) -> dict[str, Any]:
    """config.json of the model without its MTP layers."""
    return models.without_mtp(read_config(folder))


def _source(folder: Path) -> tuple[Any, Read]:
    steps, model = make_steps(open_source(folder))
    sees = isinstance(model, VisionLM)
    by_part: dict[str, list[MappingStep]] = {}
    for step in steps:
        for part in {part_of(name, sees) for name, _ in step.targets}:
            by_part.setdefault(part, []).append(step)

    def read(path: str) -> dict[str, mx.array]:
        return {
            name: value
            for step in by_part[path]
            for (name, _), value in zip(step.targets, step.values(), strict=True)
        }

    return model, read


def _converted(folder: Path) -> tuple[Any, Read]:
    config = main_config(folder)
    weights = read_weights(folder, config)  # names and shapes: each part reads values of its own
    model = models.build(config, layout=layout(weights))
    quantize(model, config, weights)
    part = partial(part_of, sees=isinstance(model, VisionLM))
    files: dict[str, set[Path]] = {}
    for path in weight_files(folder):
        for name in renamed(read_header(path)[0]):
            files.setdefault(part(name), set()).add(path)

    def read(path: str) -> dict[str, mx.array]:
        loaded: dict[str, mx.array] = {}
        for file in files[path]:
            loaded |= renamed(mx.load(str(file)))  # type: ignore[arg-type]  # lazy: only headers
        return {name: loaded[name] for name in loaded if part(name) == path and name in weights}

    return model, read
