"""`mlx-deepseek read` writes folders, goes on where it stopped, and says what failed."""

import argparse
import json

import pytest
from PIL import Image

from mlx_deepseek import engine
from mlx_deepseek.commands import read as command
from mlx_deepseek.documents.read import read
from tests.documents.made import encrypted, text_pdf
from tests.documents.scripted import Scripted


class ScriptedEngine:
    """An engine whose model is scripted."""

    name = "scripted"

    def __init__(self):
        self.model = Scripted()

    def read(self, *sources, mode, batch, max_tokens, **options):
        return read(self.model, sources, **options)


@pytest.fixture
def call(monkeypatch, tmp_path):
    """Runs the command; its status and the model."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        made = ScriptedEngine()
        monkeypatch.setattr(engine, "load", lambda *args, **options: made)
        parser = argparse.ArgumentParser()
        command.register(parser.add_subparsers())
        args = parser.parse_args(["read", *arguments, "-o", "out"])
        return args.func(args), made.model

    return run


def test_documents(call, tmp_path, capsys):
    (tmp_path / "a.pdf").write_bytes(text_pdf("one", "two"))
    Image.new("RGB", (40, 30)).save(tmp_path / "b.png")
    status, model = call("a.pdf", "b.png", "a.pdf", "--mode", "base", "--prompt", "ocr")
    assert status == 0
    assert model.asked == "<|grounding|>OCR this image."
    assert len(model.seen) == 3  # the file that is named twice is read once
    out = capsys.readouterr().out.splitlines()
    assert out == [
        "out/a/document.md: 2 of 2 pages read; 50 text tokens, 2.5 for each vision token",
        "out/b/document.md: 1 of 1 pages read; 25 text tokens, 2.5 for each vision token",
    ]
    assert "# Page 2" in (tmp_path / "out/b/document.md").read_text()


def test_a_second_run_reads_nothing_again(call, tmp_path, capsys):
    (tmp_path / "a.pdf").write_bytes(text_pdf("one", "two"))
    call("a.pdf")
    first = capsys.readouterr().out
    status, model = call("./a.pdf")
    assert (status, model.seen, capsys.readouterr().out) == (0, [], first)


def test_json_and_errors(call, tmp_path, capsys):
    (tmp_path / "a.pdf").write_bytes(encrypted(b"secret"))
    Image.new("RGB", (40, 30)).save(tmp_path / "b.png")
    status, _ = call("a.pdf", "none.png", "b.png", "--json")
    assert status == 1
    captured = capsys.readouterr()
    locked, missing, read_one = json.loads(captured.out)
    assert "needs a password" in locked["pages"][0]["error"]
    assert "needs a password" in captured.err
    assert "none.png: no such file" in missing["pages"][0]["error"]
    assert read_one["pages"][0]["blocks"][0]["boxes"] == [[0, 0, 40, 6]]
    assert read_one["folder"] == "out/b"
    status, model = call("a.pdf", "none.png", "b.png", "--password", "secret")
    assert (status, model.seen) == (1, [(144, 72)])
    assert "out/a/document.md: 1 of 1 pages read" in capsys.readouterr().out


def test_what_was_read_before_an_end_is_joined(call, tmp_path, monkeypatch):
    (tmp_path / "a.pdf").write_bytes(text_pdf("one", "two", "three"))

    def stopped(states):
        for state in states:
            yield state
            if state.finish:
                raise KeyboardInterrupt

    whole = ScriptedEngine.read
    monkeypatch.setattr(ScriptedEngine, "read", lambda *a, **o: stopped(whole(*a, **o)))
    with pytest.raises(KeyboardInterrupt):
        call("a.pdf")
    assert "# Page 0" in (tmp_path / "out/a/document.md").read_text()
    monkeypatch.setattr(ScriptedEngine, "read", whole)
    assert len(call("a.pdf")[1].seen) == 2


def test_a_terminal_sees_pages(call, tmp_path, capsys, monkeypatch):
    (tmp_path / "a.pdf").write_bytes(text_pdf("one", "two"))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    call("a.pdf", "none.png")
    shown = capsys.readouterr().err
    assert "a.pdf 1/2: 25 text tokens, 2.5 for each vision token" in shown
    assert "none.png 0/0: could not be read" in shown
