"""Agents as users start them: each calls its shell, gets the result, and answers with it; aider,
which calls no tools, edits a file.

Those that are not installed are skipped; MLX_DEEPSEEK_AGENTS is the folders of their
programs, with `:` between.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from mlx_deepseek_app.server.agents import AGENTS, Target
from mlx_deepseek_app.server.site import build
from tests.app.server.scripted_model import ScriptedModel
from tests.app.server.serving import serving
from tests.app.server.test_behaviour import OneModel

COMMAND = "echo $((6 * 7))-is-what-it-is > out.txt; cat out.txt"
WORDS = {
    "claude": ["-p", "Run it.", "--allowedTools", "Bash"],
    "codex": [
        "exec",
        "--skip-git-repo-check",
        "--dangerously-bypass-approvals-and-sandbox",
        "Run it.",
    ],
    "opencode": ["run", "Run it."],
}
AIDER = [
    "--yes-always",
    "--no-git",
    "--no-check-update",
    "--no-analytics",
    "--no-show-model-warnings",
    "--message",
    "Print 42.",
    "hello.py",
]


@pytest.mark.parametrize("name", WORDS)
def test_an_agent_calls_its_shell_and_reads_the_result(name, tmp_path):
    model = ScriptedModel(COMMAND)
    done = run(name, WORDS[name], model, tmp_path)
    assert model.called, done.stderr
    assert (tmp_path / "work" / "out.txt").read_text() == "42-is-what-it-is\n"
    assert "The shell said:" in done.stdout, done.stderr
    assert "42-is-what-it-is" in done.stdout


def test_aider_edits_a_file(tmp_path):
    model = ScriptedModel(COMMAND, says="hello.py\n```\nprint(42)\n```\n")
    done = run("aider", AIDER, model, tmp_path)
    assert "Applied edit to hello.py" in done.stdout, done.stderr
    assert (tmp_path / "work" / "hello.py").read_text() == "print(42)\n"


def run(name: str, words: list[str], model: ScriptedModel, folder: Path):
    """The agent at its end, started in an empty folder as `launch` starts it."""
    path = os.pathsep.join([os.environ.get("MLX_DEEPSEEK_AGENTS", ""), os.environ["PATH"]])
    agent = AGENTS[name]
    program = shutil.which(agent.program, path=path)
    if program is None:
        pytest.skip(f"no {agent.program}: {agent.install}")
    home, work = folder / "home", folder / "work"
    home.mkdir()
    work.mkdir()
    with serving(build(OneModel(model))) as address:
        target = Target(address, "scripted")
        environment = {**os.environ, "PATH": path, "HOME": str(home), "PWD": str(work), "CI": "1"}
        return subprocess.run(
            [program, *agent.arguments(target), *words],
            env=environment | dict(agent.environment(target)),
            cwd=work,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=180,
        )
