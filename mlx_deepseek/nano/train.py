"""Trains nano: Muon and AdamW in float32, balanced experts, a schedule that ends on time."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_map_with_path
from tokenizers import Tokenizer

from mlx_deepseek.nano import saving
from mlx_deepseek.nano.card import model_card
from mlx_deepseek.nano.data import Batch, batches
from mlx_deepseek.nano.dense_moe import DenseMoE, build_for_training
from mlx_deepseek.nano.export import export
from mlx_deepseek.nano.muon import Muon
from mlx_deepseek.nano.objective import balance, measure
from mlx_deepseek.nano.saving import named
from mlx_deepseek.nano.shape import nano_config
from mlx_deepseek.nano.tasks import EMPHASIS, FAMILIES
from mlx_deepseek.nano.tokenizer import train_tokenizer

Report = Callable[[str], None]

# Tensors that AdamW trains: embeddings, the head, the router and everything that is no matrix.
ADAM_NAMES = ("embed_tokens", "lm_head", "gate.weight")


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train. The run ends after `minutes`, or after `steps` if given."""

    minutes: float = 45.0
    steps: int | None = None
    tokens: int = 4096  # per step
    muon_rate: float = 4e-3
    adam_rate: float = 3e-3
    warmup_steps: int = 50
    weight_decay: float = 0.02
    mtp_weight: float = 0.3
    drafts: int = 3  # tokens that the MTP layer learns to draft in a row
    balance_step: float = 2e-3
    save_every_s: float = 180.0
    report_every: int = 25
    seed: int = 0


class Trainer:
    """A model in training, with its optimizer, its progress, and what each family still needs."""

    def __init__(
        self,
        config: Mapping[str, Any],
        tokenizer: Tokenizer,
        plan: Plan,
        finished: Mapping[str, mx.array] | None = None,
    ):
        """With the `finished` parameters of a model, only its MTP layer is trained."""
        mx.random.seed(plan.seed)
        self.plan = plan
        self.config = config
        self.tokenizer = tokenizer
        self.model, self.moes = build_for_training(config)
        initialise(self.model, config["initializer_range"])
        if finished is not None:
            self.model.load_weights(list(finished.items()))
            self.model.freeze()
            self.model.mtp[0].unfreeze()
            self.moes = self.moes[-1:]
        freeze_untrained(self.model, self.moes)
        self.optimizer = optim.MultiOptimizer(
            [
                Muon(plan.muon_rate, weight_decay=plan.weight_decay),
                optim.AdamW(plan.adam_rate, betas=[0.9, 0.98], weight_decay=plan.weight_decay),
            ],
            [is_for_muon],
        )
        self.optimizer.init(self.model.trainable_parameters())
        self.step = 0
        self.elapsed_s = 0.0
        self.accuracy = dict.fromkeys(FAMILIES, 0.0)  # running, of replies right token by token
        self.weights = dict.fromkeys(FAMILIES, 1.0)
        self._compiled = self._compile()

    @property
    def progress(self) -> float:
        """Part of the run that is over, 0 to 1."""
        if self.plan.steps:
            return min(1.0, self.step / self.plan.steps)
        return min(1.0, self.elapsed_s / (60 * self.plan.minutes))

    def rate(self) -> float:
        """Learning rate as a part of its peak: warm-up, plateau, then linearly to zero."""
        warm = min(1.0, (self.step + 1) / self.plan.warmup_steps)
        return warm * min(1.0, (1.0 - self.progress) / 0.6)

    def update(self, batch: Batch) -> dict[str, float]:
        """One step; returns the losses and accuracies of the batch."""
        started = time.perf_counter()
        rate = self.rate()
        for part, peak in zip(self.optimizer.optimizers, self._peaks(), strict=True):
            part.learning_rate = mx.array(peak * rate)
        bias_step = mx.array(self.plan.balance_step * max(rate, 0.1))
        arrays = (mx.array(batch.ids), mx.array(batch.prompt), mx.array(batch.total), bias_step)
        outcome, loads = self._compiled(*arrays)
        mx.eval(self.model.state, self.optimizer.state, outcome, loads)
        loss, mtp_loss, right, mtp_accuracy = outcome
        self._learn_weights(batch.families, np.array(right))
        self.step += 1
        self.elapsed_s += time.perf_counter() - started
        busiest = max((load.max() / load.mean()).item() for load in loads)
        drafts = {f"draft {i}": value for i, value in enumerate(mtp_accuracy.tolist(), 1)}
        return {"loss": loss.item(), "mtp_loss": mtp_loss.item(), **drafts, "load": busiest}

    def run(self, folder: Path, report: Report) -> None:
        """Train until the plan is fulfilled, saving to `folder` now and then and at the end."""
        stream = batches(self.tokenizer, self.weights, self.plan.tokens, self.plan.seed + self.step)
        saved = self.elapsed_s
        seen, since = 0, time.perf_counter()
        while self.progress < 1.0:
            batch = next(stream)
            numbers = self.update(batch)
            seen += batch.ids.size
            if self.step % self.plan.report_every == 0:
                report(self.line(numbers, seen / (time.perf_counter() - since)))
                seen, since = 0, time.perf_counter()
            if self.elapsed_s - saved > self.plan.save_every_s:
                self.save(folder)
                saved = self.elapsed_s
        self.save(folder)
        parameters = sum(v.size for v in named(self.model.parameters()).values())
        card = model_card(self.config, parameters)
        export(self.model, self.config, self.tokenizer, folder / "checkpoint", card)

    def line(self, numbers: Mapping[str, float], tokens_per_s: float) -> str:
        """One line of the log."""
        values = " ".join(f"{name} {value:.3f}" for name, value in numbers.items())
        families = " ".join(f"{name[:6]} {value:.2f}" for name, value in self.accuracy.items())
        return (
            f"step {self.step} {self.elapsed_s / 60:.1f} min {tokens_per_s:.0f} tok/s "
            f"rate {self.rate():.2f} {values} | {families}"
        )

    def save(self, folder: Path) -> None:
        """Write what `resume` needs."""
        progress = {"step": self.step, "elapsed_s": self.elapsed_s, "accuracy": self.accuracy}
        saving.save(folder, self.model, self.optimizer, progress)

    def resume(self, folder: Path) -> None:
        """Go on from what `save` wrote."""
        progress = saving.resume(folder, self.model, self.optimizer)
        self.step, self.elapsed_s = progress["step"], progress["elapsed_s"]
        self.accuracy.update(progress["accuracy"])
        self._compiled = self._compile()

    def _peaks(self) -> tuple[float, float]:
        return self.plan.muon_rate, self.plan.adam_rate

    def _learn_weights(self, families: list[str], right: np.ndarray) -> None:
        for family, good in zip(families, right, strict=True):
            self.accuracy[family] += 0.01 * (float(good) - self.accuracy[family])
        for family, value in self.accuracy.items():
            self.weights[family] = (0.15 + (1 - value)) * EMPHASIS.get(family, 1.0)

    def _compile(self) -> Callable:
        state = [self.model.state, self.optimizer.state]

        def losses(ids, prompt, total):
            o = measure(self.model, ids, prompt, total, self.plan.drafts)
            loss = o.loss + self.plan.mtp_weight * o.mtp_loss
            return (
                loss,
                (o.loss, o.mtp_loss, o.right, o.mtp_accuracy),
                [moe.last_load for moe in self.moes],
            )

        gradients_of = nn.value_and_grad(self.model, losses)

        @partial(mx.compile, inputs=state, outputs=state)
        def step(ids, prompt, total, bias_step):
            (_, outcome, loads), gradients = gradients_of(ids, prompt, total)
            gradients, _ = optim.clip_grad_norm(gradients, 1.0)
            self.optimizer.update(self.model, gradients)
            for moe, load in zip(self.moes, loads, strict=True):
                bias = moe.gate.e_score_correction_bias
                moe.gate.e_score_correction_bias = balance(bias, load, bias_step)
            return outcome, loads

        return step


def new_trainer(
    folder: Path,
    plan: Plan,
    *,
    resume: bool = False,
    finished: Mapping[str, mx.array] | None = None,
) -> Trainer:
    """A trainer of the shipped shape, at its start or where the run in `folder` was saved.

    Of the model with `finished` parameters it trains the MTP layer alone.

    Raises:
        CheckpointError: there is nothing to resume.
    """
    if resume:
        saving.require(folder)
    trainer = Trainer(nano_config(), train_tokenizer(), plan, finished)
    if resume:
        trainer.resume(folder)
    return trainer


def is_for_muon(path: str, parameter: mx.array) -> bool:
    """Whether Muon trains the parameter."""
    return parameter.ndim >= 2 and not any(name in path for name in ADAM_NAMES)


def initialise(model: nn.Module, scale: float) -> None:
    """Random normal matrices of deviation `scale`; norms and biases stay as they are built."""

    def fill(path: str, parameter: mx.array) -> mx.array:
        if parameter.ndim < 2:
            return parameter
        return scale * mx.random.normal(parameter.shape)

    model.update(tree_map_with_path(fill, model.parameters()))


def freeze_untrained(model: Any, moes: list[DenseMoE]) -> None:
    """Leave out the MTP layer's copies of embedding and head, and the correction biases."""
    model.mtp[0].embed_tokens.freeze()
    model.mtp[0].shared_head.head.freeze()
    for moe in moes:
        moe.gate.freeze(keys=["e_score_correction_bias"], recurse=False)
