"""Trains nano-ocr: Muon and AdamW in float32, from short clean words to noisy pages."""

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

from mlx_deepseek.nano import saving
from mlx_deepseek.nano.fast_math import cross_entropy
from mlx_deepseek.nano.muon import Muon
from mlx_deepseek.nano.saving import named
from mlx_deepseek.nano.train import initialise
from mlx_deepseek.nano_ocr.data import PAD_ID, Batch, Drawing
from mlx_deepseek.nano_ocr.fast import build_for_training
from mlx_deepseek.nano_ocr.pictures import KINDS
from mlx_deepseek.nano_ocr.shape import nano_ocr_config
from mlx_deepseek.nano_ocr.tokenizer import build_tokenizer
from mlx_deepseek.vision.layout import rows
from mlx_deepseek.vision.sam import through

Report = Callable[[str], None]
# Tensors that AdamW trains: tables, the router, and everything that is no matrix.
ADAM_NAMES = (
    "embed_tokens",
    "lm_head",
    "gate.weight",
    "rel_pos",
    "pos_embed",
    "position_embedding",
    "glyph_head",
)
# How often each kind comes in the end.
LATER = {"word": 1.0, "line": 3.0, "lines": 1.5, "table": 0.8, "locate": 0.7}


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train; the run ends after `minutes`."""

    minutes: float = 60.0
    batch: int = 32
    muon_rate: float = 8e-4
    adam_rate: float = 3e-4
    warmup_steps: int = 100
    weight_decay: float = 0.01
    # Parts of words that are right: below and above them examples get easier and harder.
    enough: tuple[float, float] = (0.25, 0.45)
    harder: float = 1 / 1000  # in a step
    glyph_weight: float = 1.0  # of the loss of characters in patches
    save_every_s: float = 120.0
    report_every: int = 25
    seed: int = 0


class MatrixMuon(Muon):
    """Muon that takes convolutions as matrices of their output channels."""

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict) -> mx.array:
        """The parameter after one step."""
        if parameter.ndim < 4:
            return super().apply_single(gradient, parameter, state)
        shape, state["v"] = parameter.shape, state["v"].flatten(1)
        after = super().apply_single(gradient.flatten(1), parameter.flatten(1), state)
        state["v"] = state["v"].reshape(shape)
        return after.reshape(shape)


class Trainer:
    """A model in training, with its optimizer and its progress."""

    def __init__(self, plan: Plan):
        mx.random.seed(plan.seed)
        self.plan = plan
        self.tokenizer = build_tokenizer()
        self.config = nano_ocr_config(self.tokenizer.get_vocab_size())
        self.model, self.moes = build_for_training(self.config)
        # Told the character in each patch, the encoder learns in minutes what answers teach in
        # hours; nothing else uses it.
        width, vocab = self.model.vision.sam.pos_embed.shape[-1], self.tokenizer.get_vocab_size()
        self.model.glyph_head = nn.Linear(width, vocab)
        initialise(self.model, 0.02)
        self.optimizer = optim.MultiOptimizer(
            [
                MatrixMuon(plan.muon_rate, weight_decay=plan.weight_decay),
                optim.AdamW(plan.adam_rate, betas=[0.9, 0.98], weight_decay=plan.weight_decay),
            ],
            [is_for_muon],
        )
        self.optimizer.init(self.model.trainable_parameters())
        self.step = 0
        self.elapsed_s = 0.0
        self.hard = 0.0
        self.seen = 0.0  # running, of characters in patches that are right
        # Running, of answers that are right token by token.
        self.right: dict[str, float] = dict.fromkeys(KINDS, 0.0)
        self._compiled = self._compile()

    @property
    def progress(self) -> float:
        """Part of the run that is over, 0 to 1."""
        return min(1.0, self.elapsed_s / (60 * self.plan.minutes))

    def rate(self) -> float:
        """Learning rate as a part of its peak: warm-up, plateau, then linearly to zero."""
        warm = min(1.0, (self.step + 1) / self.plan.warmup_steps)
        return warm * min(1.0, (1.0 - self.progress) / 0.5)

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

    def update(self, batch: Batch) -> float:
        """One step; returns the batch's loss."""
        started = time.perf_counter()
        rate = self.rate()
        peaks = self.plan.muon_rate, self.plan.adam_rate
        for part, peak in zip(self.optimizer.optimizers, peaks, strict=True):
            part.learning_rate = mx.array(peak * rate)
        arrays = (batch.pictures, batch.ids, batch.prompt, batch.total, batch.patches)
        loss, right, load, seen = self._compiled(*(mx.array(array) for array in arrays))
        mx.eval(self.model.state, self.optimizer.state, loss, right, load, seen)
        self.seen += 0.05 * (seen.item() - self.seen)
        for kind, good in zip(batch.kinds, np.array(right), strict=True):
            self.right[kind] += 0.01 * (float(good) - self.right[kind])
        self.harden()
        self.load = load.item()
        self.step += 1
        self.elapsed_s += time.perf_counter() - started
        return loss.item()

    def run(self, folder: Path, report: Report) -> None:
        """Train until the plan is fulfilled, saving to `folder` now and then and at the end."""
        drawing = Drawing(self.plan.seed + self.step, self.plan.batch)
        drawing.ask(*self.wanted())
        saved = began = time.perf_counter()
        already_s, losses = self.elapsed_s, []
        for batch in drawing:
            losses.append(self.update(batch))
            now = time.perf_counter()
            self.elapsed_s = already_s + now - began  # waiting for pictures counts, too
            drawing.ask(*self.wanted())
            if self.step % self.plan.report_every == 0:
                report(self.line(sum(losses) / len(losses)))
                losses.clear()
            if self.progress >= 1.0 or now - saved > self.plan.save_every_s:
                self.save(folder)
                saved = now
            if self.progress >= 1.0:
                break
        drawing.close()

    def line(self, loss: float) -> str:
        """One line of the log."""
        kinds = " ".join(f"{kind} {value:.2f}" for kind, value in self.right.items())
        return (
            f"step {self.step} {self.elapsed_s / 60:.1f} min rate {self.rate():.2f} "
            f"easy {self.wanted()[0]:.2f} loss {loss:.3f} "
            f"load {self.load:.2f} seen {self.seen:.2f} | {kinds}"
        )

    def save(self, folder: Path) -> None:
        """Write what `resume` needs."""
        progress = {"step": self.step, "elapsed_s": self.elapsed_s, "right": self.right}
        saving.save(folder, self.model, self.optimizer, {**progress, "hard": self.hard})

    def resume(self, folder: Path) -> None:
        """Go on from what `save` wrote."""
        progress = saving.resume(folder, self.model, self.optimizer)
        self.step, self.elapsed_s = progress["step"], progress["elapsed_s"]
        self.right.update(progress["right"])
        self.hard = progress["hard"]
        self._compiled = self._compile()

    def _compile(self) -> Callable:
        state = [self.model.state, self.optimizer.state]

        def losses(pictures, ids, prompt, total, patches):
            loss, right, seen_loss, seen = measure(
                self.model, pictures, ids, prompt, total, patches
            )
            loads = [moe.last_load for moe in self.moes]
            busiest = mx.stack([load.max() / load.mean() for load in loads]).max()
            return loss + self.plan.glyph_weight * seen_loss, (loss, right, busiest, seen)

        gradients_of = nn.value_and_grad(self.model, losses)

        @partial(mx.compile, inputs=state, outputs=state)
        def step(*arrays):
            (_, outcome), gradients = gradients_of(*arrays)
            gradients, _ = optim.clip_grad_norm(gradients, 1.0)
            self.optimizer.update(self.model, gradients)
            return outcome

        return step


def measure(
    model: Any,
    pictures: mx.array,
    ids: mx.array,
    prompt: mx.array,
    total: mx.array,
    patches: mx.array,
) -> tuple[mx.array, mx.array, mx.array, mx.array]:
    """Teacher-forced loss per token of the answers, and which of them are right throughout [B].

    Then the loss per patch of the characters in patches, and how many of those drawn are right.
    """
    pixels = (pictures.astype(mx.float32) / 255 - 0.5) / 0.5
    inner = through(model.vision.sam.blocks, model.vision.sam.embed(pixels))
    seen_loss, seen = recognised(model.glyph_head(inner), patches)
    features = laid_out(model, inner)  # [B, slots, D]
    words = model.embed(ids)
    inputs = mx.concatenate([words[:, :1], features, words[:, 2:]], axis=1)
    hidden = model.language.hidden(ids, None, inputs)[:, features.shape[1] - 1 :]  # [B, L, D]
    place = mx.arange(1, ids.shape[1])
    counted = (place >= prompt[:, None]) & (place < total[:, None])
    logits, targets = model.language.head(hidden[:, :-1]), ids[:, 1:]
    loss = (cross_entropy(logits, targets) * counted).sum() / counted.sum()
    right = (mx.argmax(logits, axis=-1) == targets) | ~counted
    return loss, right.all(axis=-1), seen_loss, seen


def recognised(logits: mx.array, patches: mx.array) -> tuple[mx.array, mx.array]:
    """Loss per patch, empty ones counting little, and the part of the others that is right."""
    drawn = patches != PAD_ID
    weights = mx.where(drawn, 1.0, 0.02)
    loss = (cross_entropy(logits, patches) * weights).sum() / weights.sum()
    right = (mx.argmax(logits, axis=-1) == patches) & drawn
    return loss, right.sum() / mx.maximum(drawn.sum(), 1)


def laid_out(model: Any, inner: mx.array) -> mx.array:
    """What `see` gives for each of many pictures without tiles [B, slots, D], of SAM's blocks."""
    sam, clip = model.vision.sam, model.vision.clip
    local = through(sam.downsamples, through(sam.neck, inner))
    grid = model.projector(mx.concatenate([clip(local)[:, 1:], local.flatten(1, 2)], axis=-1))
    grid = mx.unflatten(grid, 1, local.shape[1:3])
    view = mx.vmap(lambda one: rows(one, model.image_newline))(grid)
    last = mx.broadcast_to(model.view_seperator, (len(view), 1, view.shape[-1]))
    return mx.concatenate([view, last], axis=1)


def is_for_muon(path: str, parameter: mx.array) -> bool:
    """Whether Muon trains the parameter."""
    return parameter.ndim >= 2 and not any(name in path for name in ADAM_NAMES)


def new_trainer(plan: Plan, folder: Path, *, resume: bool) -> Trainer:
    """A trainer at its start, or where the run in `folder` was saved.

    Raises:
        CheckpointError: there is nothing to resume.
    """
    if resume:
        saving.require(folder)
    trainer = Trainer(plan)
    if resume:
        trainer.resume(folder)
    return trainer


def parameter_count(parameters: Mapping[str, Any]) -> int:
    """How many numbers a model has."""
    return sum(value.size for value in named(parameters).values())
