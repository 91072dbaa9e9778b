"""A checkpoint run part by part: one decoder layer's values in memory at a time.

All sequences pass a layer before the next one is read, so that a model larger than memory can be
measured; what stays are the hidden states, [B, L, D] per batch.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.base import create_attention_mask

from mlx_deepseek import models
from mlx_deepseek.checkpoint import (
    MTP_KEY,
    cast,
    layout,
    quantize,
    read_config,
    read_weights,
    weight_files,
)
from mlx_deepseek.cpu import spread
from mlx_deepseek.errors import CheckpointError
from mlx_deepseek.tensor_file import read_header
from mlx_deepseek_convert.detect import is_source
from mlx_deepseek_convert.laws import Step
from mlx_deepseek_convert.source import open_source
from mlx_deepseek_convert.steps import make_steps

Read = Callable[[str], Mapping[str, mx.array]]  # a module's path to its values, names in full
Progress = Callable[[int, int], None]  # layers done, layers in total

PART = re.compile(r"(model\.layers\.\d+|.*(?=\.)).*")
EMBEDDING, NORM, HEAD = "model.embed_tokens", "model.norm", "lm_head"


def silent(done: int, total: int) -> None:
    """Report no progress."""


class Stream:
    """A checkpoint in Hugging Face or MLX layout; MTP layers are left out."""

    def __init__(self, folder: Path, dtype: mx.Dtype = mx.float32, *, unquantized: bool = False):
        """Read config and headers; `unquantized` multiplies out what is stored as codes.

        Raises:
            CheckpointError, ConfigError: as converting or loading the folder would.
        """
        self.folder, self.dtype = folder, dtype
        plain = unquantized or is_source(folder)
        self.model, self._read = _source(folder) if plain else _converted(folder)
        if mx.default_device().type == mx.DeviceType.cpu:
            spread(self.model)

    @property
    def layers(self) -> Sequence[str]:
        """The paths of the decoder's layers."""
        return [f"model.layers.{i}" for i in range(len(self.model.layers))]

    @contextmanager
    def part(self, path: str) -> Iterator[Any]:
        """The module at `path` with its values, which leave memory with the block.

        Raises:
            CheckpointError: the values are not those of the module.
        """
        module = at(self.model, path)
        empty = module.parameters()
        start = f"{path}."
        values = {
            name.removeprefix(start): cast(name, value, self.dtype)
            for name, value in self._read(path).items()
        }
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

    def embed(self, ids: Sequence[mx.array]) -> list[mx.array]:
        """What the first layer gets, [B, L, D] for each ids [B, L]."""
        with self.part(EMBEDDING) as embedding:
            return computed([embedding(batch).astype(self.dtype) for batch in ids])

    def hidden(self, ids: Sequence[mx.array], progress: Progress = silent) -> list[mx.array]:
        """Hidden states after the final norm, [B, L, D] for each ids [B, L]."""
        states = self.embed(ids)
        for done, path in enumerate(self.layers):
            with self.part(path) as layer:
                states = through(layer, states)
            progress(done + 1, len(self.layers))
        with self.part(NORM) as norm:
            return computed([norm(state) for state in states])

    @contextmanager
    def head(self) -> Iterator[Callable[[mx.array], mx.array]]:
        """From hidden states [..., D] to float32 logits [..., vocab]."""
        tied = HEAD not in self.model
        with self.part(EMBEDDING if tied else HEAD) as head:
            project = head.as_linear if tied else head
            yield lambda state: project(state).astype(mx.float32)


def through(layer: nn.Module, states: Sequence[mx.array]) -> list[mx.array]:
    """Hidden states behind a layer, batch after batch."""
    return [computed([layer(state, create_attention_mask(state, None))])[0] for state in states]


def computed(arrays: list[mx.array]) -> list[mx.array]:
    """The same arrays, evaluated: pending ones would keep weights in memory."""
    mx.eval(arrays)
    return arrays


def at(module: Any, path: str) -> Any:
    """The submodule at a dotted path."""
    for name in path.split("."):
        module = module[int(name)] if isinstance(module, list) else module[name]
    return module


def part_of(name: str) -> str:
    """The path of the part that a parameter is read with: its layer, or else its module."""
    return PART.sub(r"\1", name)


def main_config(folder: Path) -> dict[str, Any]:
    """config.json of the model without its MTP layers."""
    return {key: value for key, value in read_config(folder).items() if key != MTP_KEY}


def _source(folder: Path) -> tuple[Any, Read]:
    steps, model = make_steps(open_source(folder))
    by_part: dict[str, list[Step]] = {}
    for step in steps:
        for part in {part_of(name) for name, _ in step.targets}:
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
    files: dict[str, set[Path]] = {}
    for path in weight_files(folder):
        for name in read_header(path)[0]:
            files.setdefault(part_of(name), set()).add(path)

    def read(path: str) -> dict[str, mx.array]:
        loaded: dict[str, mx.array] = {}
        for file in files[path]:
            loaded |= mx.load(str(file))  # type: ignore[operator]  # lazy: only headers
        return {name: loaded[name] for name in loaded if part_of(name) == path and name in weights}

    return model, read
