"""Agents as users start them: each calls its shell, gets the result, and answers with it.

Those that are not installed are skipped; MLX_DEEPSEEK_AGENTS is a folder with their programs.
"""

import os
import shutil
import subprocess

import pytest

from mlx_deepseek_app.server.agents import AGENTS, Target
from mlx_deepseek_app.server.site import build
from tests.app.server.scripted_model import ScriptedModel
from tests.app.server.serving import serving
from tests.app.server.test_behaviour import OneModel

COMMAND = "echo $((6 * 7))-is-what-it-is > out.txt; cat out.txt"
WORDS = {"claude": ["-p", "Run it.", "--allowedTools", "Bash"]}


@pytest.mark.parametrize("name", WORDS)
def test_an_agent_calls_its_shell_and_reads_the_result(name, tmp_path):
    path = os.pathsep.join([os.environ.get("MLX_DEEPSEEK_AGENTS", ""), os.environ["PATH"]])
    agent = AGENTS[name]
    program = shutil.which(agent.program, path=path)
    if program is None:
        pytest.skip(f"no {agent.program}: {agent.install}")
    model = ScriptedModel(COMMAND)
    with serving(build(OneModel(model))) as address:
        target = Target(address, "scripted")
        environment = {**os.environ, "PATH": path, "HOME": str(tmp_path / "home"), "CI": "1"}
        work = tmp_path / "work"
        for folder in (work, tmp_path / "home"):
            folder.mkdir()
        done = subprocess.run(
            [program, *agent.arguments(target), *WORDS[name]],
            env=environment | dict(agent.environment(target)),
            cwd=work,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=180,
        )
    assert model.called, done.stderr
    assert (work / "out.txt").read_text() == "42-is-what-it-is\n"
    assert "The shell said:" in done.stdout, done.stderr
    assert "42-is-what-it-is" in done.stdout
