"""Sequences between two layers of a model that is run layer by layer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.base import create_attention_mask

from mlx_deepseek.layers.hyper_connections import copies_of
from mlx_deepseek.layers.latent_kv import LatentKV
from mlx_deepseek.layers.step import Step
from mlx_deepseek.models.decoder import DecoderLayer


@dataclass(frozen=True)
class State:
    """A batch: its residual stream, and its step, with what layers leave there for later ones.

    `stream` is [B, L, D], or what hyper-connections make of it.
    """

    stream: Any
    step: Step

    @property
    def hidden(self) -> mx.array:
        """The residual stream's hidden states [B, L, D], or copies of them [B, L, M, D]."""
        return copies_of(self.stream)


def run_layer(layer: nn.Module, states: Sequence[State]) -> list[State]:
    """The states behind a layer, batch after batch; those before it stay as they are."""
    return [_behind(layer, state) for state in states]


def _behind(layer: nn.Module, state: State) -> State:
    step = replace(state.step, shared=dict(state.step.shared))
    plain = not isinstance(layer, DecoderLayer)  # mlx-lm's
    stream = layer(state.stream, create_attention_mask(state.stream, None) if plain else step)
    step.shared.pop("taps", None)
    left = [rows.array for rows in step.shared.values() if isinstance(rows, LatentKV)]
    mx.eval(stream, left)  # pending ones would keep the layer's weights in memory
    return State(stream, step)
