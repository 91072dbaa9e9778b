"""One command trains and measures both embedded models, under either name."""

import json

import pytest

from mlx_deepseek.cli import main
from mlx_deepseek.nano.ocr.pictures import APART, KINDS


@pytest.mark.parametrize("name", [["nano", "eval", "nano-ocr"], ["nano-ocr", "eval"]])
def test_a_model_that_sees_is_measured_by_reading(name, capsys):
    assert main([*name, "--count", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {*KINDS, *APART}
    assert found["table"]["boxes"] == 1


def test_a_run_is_started_resumed_and_exported(tmp_path, capsys):
    command = ["nano", "train", "--start", "nano", "--tokens", "256", "--out", str(tmp_path)]
    assert main([*command, "--drafts", "0", "--steps", "1"]) == 0
    assert "Trained nano is in" in capsys.readouterr().out
    assert main([*command, "--drafts", "0", "--steps", "2", "--resume"]) == 0
    assert json.loads((tmp_path / "training.json").read_text())["step"] == 2
    assert (tmp_path / "checkpoint" / "model.safetensors").is_file()


def test_nothing_to_resume_is_said(tmp_path, capsys):
    command = ["nano", "train", "--start", "nano", "--drafts", "0", "--resume"]
    assert main([*command, "--out", str(tmp_path)]) != 0
    assert "no training run to resume" in capsys.readouterr().err
