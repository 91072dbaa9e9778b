"""Trains nano-ocr, from short clean words to noisy pages."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_deepseek.nano.ocr.config import nano_ocr_config
from mlx_deepseek.nano.ocr.cpu_modules import build_for_training
from mlx_deepseek.nano.ocr.data import EndlessBatches, PictureBatch
from mlx_deepseek.nano.ocr.loss import measure
from mlx_deepseek.nano.ocr.model_card import model_card
from mlx_deepseek.nano.ocr.pictures import KINDS
from mlx_deepseek.nano.ocr.tokenizer import build_tokenizer, tokenizer_config
from mlx_deepseek.nano.training import trainer
from mlx_deepseek.nano.training.export import export
from mlx_deepseek.nano.training.state import named
from mlx_deepseek.nano.training.trainer import Numbers

# How often each kind comes in the end.
LATER = {"word": 1.0, "line": 3.0, "lines": 1.5, "table": 0.8, "locate": 0.7}
HELPER = "glyph_head"  # trained along, and not part of the model


@dataclass(frozen=True)
class OCRTrainingPlan(trainer.TrainingPlan):
    """A run of nano-ocr: `batch` pictures per step, which grow harder."""

    minutes: float = 60.0
    muon_rate: float = 8e-4
    adam_rate: float = 3e-4
    warmup_steps: int = 100
    falling: float = 0.5
    weight_decay: float = 0.01
    batch: int = 32
    # Parts of words that are right: below and above them examples get easier and harder.
    enough: tuple[float, float] = (0.25, 0.45)
    harder: float = 1 / 1000  # in a step
    glyph_weight: float = 1.0  # of the loss of characters in patches


class OCRTrainer(trainer.Trainer):
    """Nano-ocr in training, with how hard its pictures have become."""

    adam = (*trainer.Trainer.adam, "rel_pos", "pos_embed", "position_embedding", HELPER)

    def __init__(self, plan: OCRTrainingPlan, start: Mapping[str, mx.array] | None = None):
        """From parameters `start`, with the hardest pictures at once, else from random ones."""
        mx.random.seed(plan.seed)
        self.tokenizer = build_tokenizer()
        vocab = self.tokenizer.get_vocab_size()
        self.config = nano_ocr_config(vocab)
        model, self.moes = build_for_training(self.config)
        # Told the character in each patch, the encoder learns in minutes what answers teach in
        # hours; nothing else uses it.
        model[HELPER] = nn.Linear(model.vision.sam.pos_embed.shape[-1], vocab)
        trainer.initialise(model, 0.02)
        if start is not None:
            model.load_weights(list(start.items()), strict=False)
        self.hard = 0.0 if start is None else 1.0
        self.seen = 0.0  # running, of characters in patches that are right
        # Running, of answers that are right token by token.
        self.right: dict[str, float] = dict.fromkeys(KINDS, 0.0)
        super().__init__(model, plan)

    def wanted(self) -> tuple[float, dict[str, float]]:
        """How easy the next examples are, and each kind's share."""
        later = max(0.0, (self.hard - 0.4) / 0.6)  # until then only words
        shares = {kind: later * LATER[kind] for kind in KINDS}
        shares["word"] += 1 - later
        return 1 - self.hard, shares

    def harden(self) -> None:
        """Examples get harder while words are read, and easier again when they are not."""
        low, high = self.plan.enough
        right = self.right["word"]
        step = self.plan.harder if right > high else -self.plan.harder if right < low else 0.0
        self.hard = min(1.0, max(0.0, self.hard + step))

    def stream(self) -> Iterator[PictureBatch]:
        drawing = EndlessBatches(self.plan.seed + self.step, self.plan.batch)
        drawing.ask(*self.wanted())
        try:
            for batch in drawing:
                yield batch
                drawing.ask(*self.wanted())
        finally:
            drawing.close()

    def arrays(self, batch: PictureBatch) -> tuple[np.ndarray, ...]:
        return batch.pictures, batch.ids, batch.prompt, batch.total, batch.patches

    def losses(self, *arrays: mx.array) -> tuple[mx.array, Any]:
        loss, right, seen_loss, seen = measure(self.model, *arrays)
        loads = [moe.last_load for moe in self.moes]
        busiest = mx.stack([load.max() / load.mean() for load in loads]).max()
        return loss + self.plan.glyph_weight * seen_loss, (right, busiest, seen)

    def learned(self, batch: PictureBatch, outcome: Any) -> Numbers:
        right, busiest, seen = outcome
        self.seen += 0.05 * (seen.item() - self.seen)
        for kind, good in zip(batch.kinds, np.array(right), strict=True):
            self.right[kind] += 0.01 * (float(good) - self.right[kind])
        self.harden()
        return {"load": busiest.item(), "seen": self.seen, "hard": self.hard}

    def kept(self) -> dict[str, Any]:
        return {"right": self.right, "hard": self.hard}

    def line(self, numbers: Mapping[str, float]) -> str:
        kinds = " ".join(f"{kind} {value:.2f}" for kind, value in self.right.items())
        return f"{super().line(numbers)} | {kinds}"

    def export(self, folder: Path) -> None:
        weights = {n: v for n, v in named(self.model.parameters()).items() if HELPER not in n}
        card = model_card(sum(value.size for value in weights.values()))
        spoken = tokenizer_config(self.config["language_config"]["max_position_embeddings"])
        export(weights, self.config, self.tokenizer, spoken, folder, card)
