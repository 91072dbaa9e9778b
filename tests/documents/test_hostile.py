"""No file stops the others, takes much memory, or is passed over in silence."""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from mlx_deepseek.documents.pages import MAX_BAD_IN_A_ROW
from mlx_deepseek.documents.pdf import MEMORY_BYTES
from tests.documents.hostile import GOOD, corpus, whole_files
from tests.documents.scripted import Scripted

ROOT = Path(__file__).parents[2]
# Two pictures of the largest size at once, while one is decoded.
MOST_BYTES = 720 << 20


@pytest.fixture(scope="module")
def result():
    """What a process of its own made of the corpus: memory is measured, and crashes would show."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.documents.hostile"], cwd=ROOT, capture_output=True, check=True
    )
    return json.loads(done.stdout)


def test_there_are_enough_and_each_run_has_the_same(result):
    assert len(result["files"]) > 380
    assert result["files"] == [name for name, _ in corpus()]


def test_no_file_is_lost(result):
    assert {name for name, *_ in result["ends"]} == set(result["files"])
    assert all(finish in ("stop", "error") for _, finish, _ in result["ends"])


def test_good_files_in_between_are_read(result):
    ends = {name: finish for name, finish, _ in result["ends"]}
    good = [name for name in result["files"] if name.startswith(GOOD)]
    assert len(good) > 15
    assert {ends[name] for name in good} == {"stop"}


def test_errors_are_clear(result):
    """Each says what it is about, what is wrong and what to do; none shows Python's insides."""
    errors = [error for _, finish, error in result["ends"] if finish == "error"]
    assert len(errors) > 200
    advice = r"Expected|[Gg]et |[Gg]ive |Make|make|convert|cut|left out|not supported"
    for error in errors:
        assert re.match(r"(picture|PDF) of \d+ bytes: ", error), error
        assert re.search(advice, error), error
        assert "Traceback" not in error
        assert "object at 0x" not in error


def test_memory_is_bounded(result):
    assert result["grown_bytes"] < MOST_BYTES
    assert result["renderer_bytes"] <= MEMORY_BYTES


def test_pages_that_are_not_there_are_not_all_listed(result):
    ends = Counter(name for name, *_ in result["ends"])
    assert ends["pdf that calls itself a million pages"] == 1 + MAX_BAD_IN_A_ROW + 1
    last = [error for name, _, error in result["ends"] if "million" in name and error][-1]
    assert "pages 102 to 1000000 are left out" in last


def test_whole_files_are_read():
    """What the fuzzed ones come from: or their errors would say nothing."""
    from mlx_deepseek.documents.read import read

    for name, content in whole_files().items():
        ends = [page for page in read(Scripted(), [content]) if page.finish]
        assert ends, name
        assert not any(page.error for page in ends), name
