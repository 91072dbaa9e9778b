"""The trainer: same numbers as the real modules, resumable, and its export is read by `load`."""

from random import Random

import mlx.core as mx
import numpy as np
import pytest

from mlx_deepseek import load, models
from mlx_deepseek.nano.ocr.config import VIEW_PX
from mlx_deepseek.nano.ocr.data import draw
from mlx_deepseek.nano.ocr.loss import laid_out
from mlx_deepseek.nano.ocr.pictures import FREE, KINDS, example
from mlx_deepseek.nano.ocr.train import OCRTrainer, OCRTrainingPlan
from mlx_deepseek.nano.training.state import named
from mlx_deepseek.vision.encoders.sam import run_blocks
from mlx_deepseek.vision.tiling.pixels import fitted

PLAN = OCRTrainingPlan(batch=2, warmup_steps=1)


@pytest.fixture(scope="module")
def batch():
    return draw(Random(0), PLAN.batch, dict.fromkeys(KINDS, 1.0), 1.0)[0]


@pytest.fixture(scope="module")
def trainer(batch):
    trainer = OCRTrainer(PLAN)
    trainer.first = trainer.update(batch)["loss"]
    return trainer


def test_the_loss_of_a_batch_falls_when_it_is_trained_on(trainer, batch):
    for _ in range(2):
        last = trainer.update(batch)["loss"]
    assert last < trainer.first


def test_training_sees_what_the_real_encoder_sees(trainer):
    weights = [
        (name, value)
        for name, value in named(trainer.model.parameters()).items()
        if not name.startswith("glyph_head")
    ]
    real = models.build(trainer.config)
    fast = trainer.model
    own = dict(named(real.parameters()))
    real.load_weights([(name, value) for name, value in weights if name in own], strict=False)
    picture = example(Random(1), "line").picture
    plan = real.reader.plan([picture.size])[0]
    seen = real.see(real.reader.pixels(picture, plan), plan)
    whole = fitted(picture, (VIEW_PX, VIEW_PX))
    pixels = mx.array(np.asarray(whole, np.float32)[None] / 255 - 0.5) / 0.5
    sam = fast.vision.sam
    trained = laid_out(fast, run_blocks(sam.blocks, sam.embed(pixels)))[0]
    assert seen.shape == trained.shape
    assert mx.abs(seen - trained).max().item() < 0.02 * seen.std().item() + 2e-3


def test_a_saved_run_goes_on_as_if_it_had_not_ended(trainer, batch, tmp_path):
    trainer.save(tmp_path)
    resumed = OCRTrainer(PLAN)
    resumed.resume(tmp_path)
    assert (resumed.step, resumed.hard) == (trainer.step, trainer.hard)
    again, on = (one.update(batch)["loss"] for one in (resumed, trainer))
    assert again == pytest.approx(on, rel=1e-3)


def test_the_export_is_a_release_that_load_converts_and_reads_with(trainer, tmp_path, monkeypatch):
    monkeypatch.setenv("MLX_DEEPSEEK_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "checkpoint"
    trainer.export(folder)
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert size < 12e6
    names = mx.load(str(folder / "model.safetensors")).keys()
    assert not any("glyph_head" in name for name in names)
    assert any(name.startswith("model.sam_model.") for name in names)
    engine = load(str(folder))
    answer = engine.generate(FREE, images=[example(Random(2), "word").picture], max_tokens=3)
    assert answer.usage.completion_tokens in (1, 2, 3)
    assert engine.sees


def test_examples_get_harder_only_while_words_are_read():
    trainer = OCRTrainer(PLAN)
    trainer.right["word"] = 0.9
    trainer.harden()
    assert trainer.hard == PLAN.harder
    trainer.right["word"] = 0.0
    trainer.harden()
    trainer.harden()
    assert trainer.hard == 0
    easy, shares = trainer.wanted()
    assert easy == 1
    assert shares["word"] == 1
    trainer.hard = 1.0
    assert min(trainer.wanted()[1].values()) > 0
