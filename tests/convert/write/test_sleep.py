"""A laptop that sleeps: the process stands still for a while, and goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from mlx_deepseek_convert import convert
from tests.convert.write.test_resume import CASE, content

SLOWLY = """
import sys, time
from mlx_deepseek_convert import convert
from mlx_deepseek_convert.write import writer
writer.COMMIT_BYTES = 1
original = writer.write_at
def slow(*args):
    time.sleep(0.01)
    original(*args)
writer.write_at = slow
convert(*sys.argv[1:])
"""


def test_it_goes_on_where_it_stood(goldens_root, tmp_path):
    convert(goldens_root / CASE, tmp_path / "whole")
    target = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-c", SLOWLY, str(goldens_root / CASE), str(target)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=Path(__file__).parents[3],
    )
    journal = tmp_path / "out.partial" / "journal"
    while process.poll() is None and (not journal.is_file() or journal.stat().st_size < 500):
        time.sleep(0.01)
    for _ in range(3):
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.3)
        assert not target.exists()
        process.send_signal(signal.SIGCONT)
        time.sleep(0.02)
    assert process.wait(120) == 0
    assert content(target) == content(tmp_path / "whole")
