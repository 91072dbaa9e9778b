"""The loop: rates, saving, resuming, ending; on a model of four numbers."""

import itertools

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from mlx_deepseek.errors import CheckpointError
from mlx_deepseek.nano.training import trainer
from mlx_deepseek.nano.training.muon import Muon, orthogonal
from mlx_deepseek.nano.training.trainer import TrainingPlan

pytestmark = pytest.mark.usefixtures("compiled")


class Fitting(trainer.Trainer):
    """Learns to double two numbers; notes what it saw and where it was exported to."""

    def __init__(self, plan: TrainingPlan):
        mx.random.seed(0)
        super().__init__(nn.Linear(2, 2, bias=False), plan)
        self.noted: list[float] = []
        self.folder = None

    def stream(self):
        rng = np.random.default_rng(self.step)
        return (rng.normal(size=(8, 2)).astype(np.float32) for _ in itertools.count())

    def arrays(self, batch):
        return (batch,)

    def losses(self, x):
        off = ((self.model(x) - 2 * x) ** 2).mean()
        return off, {"off": off}

    def learned(self, batch, outcome):
        self.noted.append(outcome["off"].item())
        return {"seen": float(len(self.noted))}

    def kept(self):
        return {"noted": self.noted}

    def export(self, folder):
        self.folder = folder


def fitting(**changes) -> Fitting:
    return Fitting(TrainingPlan(muon_rate=0.5, warmup_steps=2, report_every=5, **changes))


def test_the_schedule_warms_up_and_ends_at_zero():
    one = Fitting(TrainingPlan(steps=100, warmup_steps=10))
    rates = []
    for one.step in range(100):
        rates.append(one.rate())
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == 1.0
    assert rates[30] == 1.0 > rates[60] > rates[-1]
    assert rates[-1] < 0.02


def test_a_run_learns_reports_saves_and_exports(tmp_path):
    one, lines = fitting(steps=40), []
    one.run(tmp_path, lines.append)
    assert one.noted[-1] < 0.2 * one.noted[0]
    assert [line.split()[1] for line in lines] == [str(n) for n in range(5, 41, 5)]
    assert "seen 40.000" in lines[-1]
    assert one.folder == tmp_path / "checkpoint"
    assert {"training.json", "training.safetensors"} <= {f.name for f in tmp_path.iterdir()}


def test_a_resumed_run_goes_on_as_if_it_had_not_ended(tmp_path):
    one = fitting(steps=30)
    batches = list(itertools.islice(one.stream(), 12))
    for batch in batches[:8]:
        one.update(batch)
    one.save(tmp_path)
    other = fitting(steps=30)
    other.resume(tmp_path)
    assert (other.step, other.noted) == (8, one.noted)
    for batch in batches[8:]:
        assert one.update(batch)["loss"] == pytest.approx(other.update(batch)["loss"], rel=1e-5)
    assert mx.allclose(one.model.weight, other.model.weight, atol=1e-6)


def test_nothing_to_resume_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="no training run"):
        fitting(steps=1).resume(tmp_path)


def test_muon_updates_are_nearly_orthogonal():
    for shape in ((64, 128), (128, 64), (3, 64, 64)):
        singular = mx.linalg.svd(orthogonal(mx.random.normal(shape)), False, stream=mx.cpu)
        assert singular.max().item() < 1.4
        assert mx.median(singular).item() > 0.6


def test_muon_takes_a_convolution_as_the_matrix_of_its_output_channels():
    gradient, weight = mx.random.normal((6, 3, 3, 2)), mx.zeros((6, 3, 3, 2))
    updates = []
    for flat in (False, True):
        g, w = (x.flatten(1) if flat else x for x in (gradient, weight))
        muon = Muon(0.1)
        updates.append(muon.apply_single(g, w, {"v": mx.zeros_like(w)}))
    assert mx.allclose(updates[0].flatten(1), updates[1])


def test_embeddings_and_what_is_no_matrix_are_for_adam():
    for path, shape, muon in (
        ("layers.0.mlp.up_proj.weight", (4, 4), True),
        ("layers.0.norm.weight", (4,), False),
        ("model.embed_tokens.weight", (4, 4), False),
        ("layers.1.mlp.gate.weight", (4, 4), False),
        ("layers.1.mlp.gate_proj.weight", (4, 4), True),
    ):
        assert Fitting.is_for_muon(path, mx.zeros(shape)) == muon, path
