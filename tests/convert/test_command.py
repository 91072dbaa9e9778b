"""`mlx-deepseek convert` prints plans and reports for people and for programs."""

import argparse
import json
import subprocess
import sys

import pytest

from mlx_deepseek.errors import CheckpointError, ConfigError, DeepSeekError
from mlx_deepseek_convert import command, plan, upload
from mlx_deepseek_convert.quality import budget


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    command.register(parser.add_subparsers())
    args = parser.parse_args(["convert", *map(str, arguments)])
    return args.func(args)


def test_dry_run_writes_nothing(goldens_root, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = goldens_root / "deepseek_v3_fp8"
    assert run(source, "--dry-run") == 0
    output = capsys.readouterr().out
    assert "169 tensors" in output
    assert "4-bit affine, groups of 64" in output
    assert "mtp.safetensors" in output
    assert list(tmp_path.iterdir()) == []


def test_dry_run_as_json_is_the_plan(goldens_root, capsys):
    source = goldens_root / "deepseek_v3_fp8"
    assert run(source, "--recipe", "mxfp4", "--dry-run", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    planned = plan(source, "mxfp4")
    assert summary["bytes_out"] == planned.bytes_out
    assert summary["parameters"] == planned.parameters
    assert sum(summary["groups"].values()) == planned.parameters
    assert sum(file["bytes"] for file in summary["files"]) == planned.bytes_out


def test_converting_to_the_default_target(goldens_root, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(goldens_root / "deepseek_v3", "--recipe", "8bit", "--json") == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert captured.err == ""  # no progress bar without a terminal
    assert report["target"] == str(tmp_path / "deepseek_v3-8bit")
    written = sum(path.stat().st_size for path in tmp_path.glob("deepseek_v3-8bit/*.safetensors"))
    assert report["bytes_out"] <= written
    with pytest.raises(CheckpointError, match="exists already"):
        run(goldens_root / "deepseek_v3", "--recipe", "8bit")
    assert run(goldens_root / "deepseek_v3", "--recipe", "8bit", "--overwrite") == 0
    assert "8-bit affine" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--fit", "1GB", "--recipe", "4bit"], "--fit and --recipe do not go together"),
        (["--export", "--recipe", "4bit"], "--export and --recipe"),
        (["--export", "--fit", "1GB"], "--export and --fit"),
        (["--export", "--adapter", "x"], "--export and --adapter"),
        (["--export", "--calibrate"], "--export and --calibrate"),
        (["--dry-run", "--upload", "a/b"], "--dry-run and --upload"),
        (["--no-feedback"], "--no-feedback needs --calibrate"),
        (["--private"], "--private needs --upload"),
        (["--revision", "main"], "--revision is of repositories"),
        (["--recipe", "5bit"], "4bit"),
    ],
)
def test_options_that_would_do_nothing(capsys, options, words):
    with pytest.raises(SystemExit) as raised:
        run("nano", *options)
    assert raised.value.code == 2
    assert words in capsys.readouterr().err


def test_help_shows_defaults(capsys):
    with pytest.raises(SystemExit):
        run("--help")
    text = " ".join(capsys.readouterr().out.split())
    for words in ("(default: 4bit)", "(default: main)", "(default: SOURCE's name-RECIPE)"):
        assert words in text


def test_what_cannot_be_calibrated_or_written_is_refused_before_measuring(tmp_path, monkeypatch):
    """`--fit` measures for hours."""
    monkeypatch.setattr(budget, "fitted", lambda *args: pytest.fail("measured"))
    adapter = tmp_path / "adapter"
    with pytest.raises(ConfigError, match="cannot see an adapter"):
        run("nano", tmp_path / "x", "--fit", "1MB", "--calibrate", "--adapter", adapter)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    with pytest.raises(CheckpointError, match="not empty"):
        run("nano", tmp_path / "full", "--fit", "1MB", "--calibrate")


def test_a_file_given_for_its_folder(tmp_path, goldens_root):
    config = goldens_root / "deepseek_v3" / "config.json"
    with pytest.raises(CheckpointError, match=r"config\.json: is a file\. Expected its folder"):
        run(config, tmp_path / "x")
    with pytest.raises(DeepSeekError, match="no such folder or model"):
        run(goldens_root / "deepseek_v33", tmp_path / "x")


def test_neither_folder_nor_hub_id():
    with pytest.raises(DeepSeekError, match="no such folder"):
        run("/nowhere/at/all")


def test_nano_is_a_checkpoint_like_any_other(tmp_path, capsys):
    assert run("nano", tmp_path / "nano", "--json") == 0
    assert json.loads(capsys.readouterr().out)["parameters"] > 100_000
    assert (tmp_path / "nano" / "tokenizer.json").is_file()


def test_registering_is_quick():
    """The command line registers every command; mlx-lm, a second to import, may not come along."""
    code = "import mlx_deepseek_convert.command, sys; print('mlx_lm' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.strip() == "False", answer.stderr


def test_dry_run_predicts_disk_and_memory(goldens_root, capsys):
    assert run(goldens_root / "deepseek_v3", "--dry-run", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["disk_bytes"] == summary["bytes_out"]
    assert summary["peak_bytes"] > max(
        tensor.nbytes for tensor in plan(goldens_root / "deepseek_v3").source.tensors.values()
    )


def test_there_and_back(goldens_root, tmp_path, capsys):
    assert run(goldens_root / "deepseek_v3", tmp_path / "mlx", "--recipe", "bf16") == 0
    assert "sha256" in capsys.readouterr().out
    assert run(tmp_path / "mlx", tmp_path / "back", "--export", "--json") == 0
    assert json.loads(capsys.readouterr().out)["recipe"] == "release"
    assert plan(tmp_path / "back").parameters == plan(goldens_root / "deepseek_v3").parameters


def test_upload_follows_the_conversion(goldens_root, tmp_path, capsys, monkeypatch):
    calls = []
    monkeypatch.setattr(upload, "upload", lambda *args, **kwargs: calls.append((args, kwargs)))
    run(goldens_root / "deepseek_v3", tmp_path / "mlx", "--upload", "me/tiny", "--private")
    assert calls == [((tmp_path / "mlx", "me/tiny"), {"private": True})]
