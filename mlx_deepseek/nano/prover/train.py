"""Trains nano-prover on proofs that Lean accepted."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import mlx.core as mx
from tokenizers import Tokenizer

from mlx_deepseek.nano.prover.config import prover_config
from mlx_deepseek.nano.prover.data import LONGEST, row
from mlx_deepseek.nano.prover.families import FAMILIES
from mlx_deepseek.nano.prover.model_card import model_card
from mlx_deepseek.nano.prover.states import Verified
from mlx_deepseek.nano.prover.tokenizer import tokenizer_config
from mlx_deepseek.nano.text.data import TokenBatch, packed
from mlx_deepseek.nano.text.train import TextTrainer, TextTrainingPlan
from mlx_deepseek.nano.training.export import export
from mlx_deepseek.nano.training.state import named


class ProverTrainer(TextTrainer):
    """nano-prover in training; `states` are proofs of each family with their goals."""

    emphasis: ClassVar[Mapping[str, float]] = dict.fromkeys(FAMILIES, 1.0)

    def __init__(
        self,
        tokenizer: Tokenizer,
        plan: TextTrainingPlan,
        states: Mapping[str, Sequence[Verified]],
        start: Mapping[str, mx.array] | None = None,
    ):
        self.states = states
        super().__init__(prover_config(), tokenizer, plan, start)

    def stream(self) -> Iterable[TokenBatch]:
        draw = partial(row, self.tokenizer, self.states)
        return packed(draw, self.weights, self.plan.tokens, self.plan.seed + self.step, LONGEST)

    def export(self, folder: Path) -> None:
        weights = named(self.model.parameters())
        card = model_card(self.config, sum(value.size for value in weights.values()))
        spoken = tokenizer_config(self.config["max_position_embeddings"])
        export(weights, self.config, self.tokenizer, spoken, folder, card)
