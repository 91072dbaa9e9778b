"""The loop that trains both models: Muon and AdamW in float32, a schedule that ends on time."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_map_with_path

from mlx_deepseek.nano.training import state
from mlx_deepseek.nano.training.muon import Muon

Report = Callable[[str], None]
Numbers = dict[str, float]


@dataclass(frozen=True)
class TrainingPlan:
    """How long and how fast to train. The run ends after `minutes`, or after `steps` if given."""

    minutes: float = 45.0
    steps: int | None = None
    muon_rate: float = 4e-3
    adam_rate: float = 3e-3
    warmup_steps: int = 50
    falling: float = 0.6  # part of the run, its last, in which the rates fall to zero
    weight_decay: float = 0.02
    save_every_s: float = 150.0
    report_every: int = 25
    seed: int = 0


class Trainer:
    """A model in training, with its optimizer and its progress.

    A subclass says what is trained: `stream`, `arrays`, `losses`, `learned`, and what it keeps
    of its own. The loss it gives is the first of what `losses` returns; the rest goes to `learned`.
    """

    # Parts of names of matrices that AdamW trains, as it does all that is no matrix.
    adam: ClassVar[tuple[str, ...]] = ("embed_tokens", "lm_head", "gate.weight")

    def __init__(self, model: Any, plan: Any):
        self.model, self.plan = model, plan
        decay = plan.weight_decay
        self.optimizer = optim.MultiOptimizer(
            [
                Muon(plan.muon_rate, weight_decay=decay),
                optim.AdamW(plan.adam_rate, betas=[0.9, 0.98], weight_decay=decay),
            ],
            [self.is_for_muon],
        )
        self.optimizer.init(model.trainable_parameters())
        self.step, self.elapsed_s = 0, 0.0
        self._compiled = self._compile()

    def stream(self) -> Iterable[Any]:
        """Batches without end."""
        raise NotImplementedError

    def arrays(self, batch: Any) -> tuple[Any, ...]:
        """A batch as the arrays that `losses` takes."""
        raise NotImplementedError

    def losses(self, *arrays: mx.array) -> tuple[mx.array, Any]:
        """The loss to lower, and what else a step shows."""
        raise NotImplementedError

    def stepped(self, outcome: Any, rate: mx.array) -> None:
        """What a step changes beside the optimizer; compiled with it."""

    def learned(self, batch: Any, outcome: Any) -> Numbers:
        """Take note of a step; returns numbers for the log."""
        raise NotImplementedError

    def kept(self) -> dict[str, Any]:
        """The run's own numbers, to be saved with it: attributes by name."""
        return {}

    def export(self, folder: Path) -> None:
        """Write the checkpoint of the finished model."""
        raise NotImplementedError

    @classmethod
    def is_for_muon(cls, path: str, parameter: mx.array) -> bool:
        """Whether Muon trains the parameter."""
        return parameter.ndim >= 2 and not any(name in path for name in cls.adam)

    @property
    def progress(self) -> float:
        """Part of the run that is over, 0 to 1."""
        if self.plan.steps:
            return min(1.0, self.step / self.plan.steps)
        return min(1.0, self.elapsed_s / (60 * self.plan.minutes))

    def rate(self) -> float:
        """Learning rate as a part of its peak: warm-up, plateau, then linearly to zero."""
        warm = min(1.0, (self.step + 1) / self.plan.warmup_steps)
        return warm * min(1.0, (1.0 - self.progress) / self.plan.falling)

    def update(self, batch: Any) -> Numbers:
        """One step; returns the batch's numbers."""
        rate = self.rate()
        peaks = self.plan.muon_rate, self.plan.adam_rate
        for part, peak in zip(self.optimizer.optimizers, peaks, strict=True):
            part.learning_rate = mx.array(peak * rate)
        loss, outcome = self._compiled(mx.array(rate), *map(mx.array, self.arrays(batch)))
        mx.eval(self.model.state, self.optimizer.state, loss, outcome)
        self.step += 1
        return {"loss": loss.item(), **self.learned(batch, outcome)}

    def run(self, folder: Path, report: Report) -> None:
        """Train until the plan is fulfilled, saving to `folder` now and then and at the end."""
        now = saved = time.perf_counter()
        for batch in self.stream():
            numbers = self.update(batch)
            before, now = now, time.perf_counter()
            self.elapsed_s += now - before  # waiting for batches counts, too
            if self.step % self.plan.report_every == 0:
                report(self.line(numbers))
            if self.progress >= 1.0 or now - saved > self.plan.save_every_s:
                self.save(folder)
                saved = now
            if self.progress >= 1.0:
                break
        self.export(folder / "checkpoint")

    def line(self, numbers: Mapping[str, float]) -> str:
        """One line of the log."""
        values = " ".join(f"{name} {value:.3f}" for name, value in numbers.items())
        return f"step {self.step} {self.elapsed_s / 60:.1f} min rate {self.rate():.2f} {values}"

    def save(self, folder: Path) -> None:
        """Write what `resume` needs."""
        progress = {"step": self.step, "elapsed_s": self.elapsed_s, **self.kept()}
        state.save(folder, self.model, self.optimizer, progress)

    def resume(self, folder: Path) -> None:
        """Go on from what `save` wrote.

        Raises:
            CheckpointError: there is nothing to resume.
        """
        for name, value in state.resume(folder, self.model, self.optimizer).items():
            setattr(self, name, value)
        self._compiled = self._compile()

    def _compile(self) -> Callable:
        changed = [self.model.state, self.optimizer.state]
        gradients_of = nn.value_and_grad(self.model, self.losses)

        @partial(mx.compile, inputs=changed, outputs=changed)
        def step(rate, *arrays):
            (loss, outcome), gradients = gradients_of(*arrays)
            gradients, _ = optim.clip_grad_norm(gradients, 1.0)
            self.optimizer.update(self.model, gradients)
            self.stepped(outcome, rate)
            return loss, outcome

        return step


def initialise(model: nn.Module, scale: float) -> None:
    """Random normal matrices of deviation `scale`; norms and biases stay as they are built."""

    def fill(path: str, parameter: mx.array) -> mx.array:
        if parameter.ndim < 2:
            return parameter
        return scale * mx.random.normal(parameter.shape)

    model.update(tree_map_with_path(fill, model.parameters()))
