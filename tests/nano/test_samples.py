"""What README and the guides print about nano, run as it stands there."""

import contextlib
import io
import re
from pathlib import Path

import pytest

from mlx_deepseek.cli import main

ROOT = Path(__file__).parents[2]
# What each sample must print: the solution as nano writes it, and its answer.
SAMPLES = {
    "README.md": ("7+6=13 carry 1", "933"),
    "docs/python.md": ("7+6=13 carry 1", "933", "7, 18, 42, 93", "tenalp"),
}


def samples(path: str) -> list[str]:
    """The Python blocks of a page that load nano and nothing else."""
    text = (ROOT / path).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    return [block for block in blocks if set(re.findall(r'load\("([^"]+)', block)) == {"nano"}]


@pytest.mark.parametrize("path", SAMPLES)
def test_samples_print_what_the_text_says(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        names: dict = {}
        for sample in samples(path):
            exec(sample, names)
    for expected in SAMPLES[path]:
        assert expected in printed.getvalue()


def test_the_sample_picture_is_read_as_the_guide_says(tmp_path, monkeypatch):
    guide = (ROOT / "docs" / "documents.md").read_text(encoding="utf-8")
    command, expected = re.search(
        r"mlx-deepseek (read docs/\S+ -o out) +# .*: (.*)", guide
    ).groups()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    assert main(command.split()) == 0
    (page,) = (tmp_path / "out").glob("*/document.md")
    assert expected in page.read_text(encoding="utf-8")
