"""Trains nano: next tokens, balanced experts, drafts, and most of what it still gets wrong."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import mlx.core as mx
import numpy as np
from tokenizers import Tokenizer

from mlx_deepseek.nano.tasks import EMPHASIS, FAMILIES
from mlx_deepseek.nano.text.data import TokenBatch, batches
from mlx_deepseek.nano.text.loss import BatchResult, balance, measure
from mlx_deepseek.nano.text.model_card import model_card
from mlx_deepseek.nano.text.tokenizer import tokenizer_config
from mlx_deepseek.nano.training import trainer
from mlx_deepseek.nano.training.cpu_modules import build_for_training
from mlx_deepseek.nano.training.export import export
from mlx_deepseek.nano.training.state import named
from mlx_deepseek.nano.training.trainer import Numbers


@dataclass(frozen=True)
class TextTrainingPlan(trainer.TrainingPlan):
    """A run of nano: `tokens` per step, and `drafts` in a row that the MTP layer learns."""

    tokens: int = 4096
    mtp_weight: float = 0.3
    drafts: int = 3
    balance_step: float = 2e-3


class TextTrainer(trainer.Trainer):
    """Nano in training, with what each family still needs."""

    emphasis: ClassVar[Mapping[str, float]] = {name: EMPHASIS.get(name, 1.0) for name in FAMILIES}

    def __init__(
        self,
        config: Mapping[str, Any],
        tokenizer: Tokenizer,
        plan: TextTrainingPlan,
        start: Mapping[str, mx.array] | None = None,
        *,
        mtp_only: bool = False,
    ):
        """From parameters `start`, else from random ones; `mtp_only` leaves the main model alone.

        With a plan of no drafts the MTP layer is left alone instead.
        """
        mx.random.seed(plan.seed)
        self.config, self.tokenizer = config, tokenizer
        model, self.moes = build_for_training(config)
        trainer.initialise(model, config["initializer_range"])
        if start is not None:
            model.load_weights(list(start.items()))
        for layer in model.get("mtp", [])[:1]:
            if mtp_only:
                model.freeze()
                layer.unfreeze()
                self.moes = self.moes[-1:]
            elif not plan.drafts:
                layer.freeze()
                self.moes = self.moes[:-1]
            # Its copies of embedding and head are tied.
            layer.embed_tokens.freeze()
            layer.shared_head.head.freeze()
        for moe in self.moes:  # biases move by a rule of their own
            moe.gate.freeze(keys=["e_score_correction_bias"], recurse=False)
        self.accuracy = dict.fromkeys(
            self.emphasis, 0.0
        )  # running, of replies right token by token
        self.weights = dict.fromkeys(self.emphasis, 1.0)
        super().__init__(model, plan)

    def stream(self) -> Iterable[TokenBatch]:
        return batches(self.tokenizer, self.weights, self.plan.tokens, self.plan.seed + self.step)

    def arrays(self, batch: TokenBatch) -> tuple[np.ndarray, ...]:
        return batch.ids, batch.prompt, batch.total

    def losses(self, *arrays: mx.array) -> tuple[mx.array, Any]:
        found = measure(self.model, *arrays, depth=self.plan.drafts)
        loads = [moe.last_load for moe in self.moes]
        shown = {"found": vars(found), "loads": loads}
        return found.loss + self.plan.mtp_weight * found.mtp_loss, shown

    def stepped(self, outcome: Any, rate: mx.array) -> None:
        step = self.plan.balance_step * mx.maximum(rate, 0.1)
        for moe, load in zip(self.moes, outcome["loads"], strict=True):
            bias = moe.gate.e_score_correction_bias
            moe.gate.e_score_correction_bias = balance(bias, load, step)

    def learned(self, batch: TokenBatch, outcome: Any) -> Numbers:
        found = BatchResult(**outcome["found"])
        self.take(batch.families, np.array(found.right))
        busiest = max((load.max() / load.mean()).item() for load in outcome["loads"])
        drafts: Any = found.mtp_accuracy.tolist()
        return {f"draft {i}": value for i, value in enumerate(drafts, 1)} | {"load": busiest}

    def take(self, families: list[str], right: np.ndarray) -> None:
        """Families that fail are asked more often."""
        for family, good in zip(families, right, strict=True):
            self.accuracy[family] += 0.01 * (float(good) - self.accuracy[family])
        for family, value in self.accuracy.items():
            self.weights[family] = (0.15 + (1 - value)) * self.emphasis[family]

    def kept(self) -> dict[str, Any]:
        return {"accuracy": self.accuracy}

    def line(self, numbers: Mapping[str, float]) -> str:
        families = " ".join(f"{name[:6]} {value:.2f}" for name, value in self.accuracy.items())
        return f"{super().line(numbers)} | {families}"

    def export(self, folder: Path) -> None:
        weights = named(self.model.parameters())
        card = model_card(self.config, sum(value.size for value in weights.values()))
        weights["mtp.0.embed_tokens.weight"] = weights["model.embed_tokens.weight"]
        weights["mtp.0.shared_head.head.weight"] = weights["lm_head.weight"]
        spoken = tokenizer_config(self.config["max_position_embeddings"])
        export(weights, self.config, self.tokenizer, spoken, folder, card)
