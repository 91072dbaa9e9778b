"""The executable: exit codes, messages, help, one command's import only; chat and generate."""

import argparse
import io
import json
import signal
import subprocess
import sys

import pytest

from mlx_deepseek import cli
from mlx_deepseek.commands import chat, generate
from mlx_deepseek.commands.terminal import ChunkPrinter, printable
from mlx_deepseek.errors import DeepSeekError
from mlx_deepseek.generation.results import Chunk
from mlx_deepseek.prompts.tools import ToolCall

QUESTION = "What is 347 + 586?"


def failing(error: Exception):
    """A `mlx_deepseek.commands` entry point whose command raises."""

    class Entry:
        name = "fail"

        def load(self):
            def run(_):
                raise error

            def register(subparsers) -> None:
                subparsers.add_parser("fail", help="fails").set_defaults(func=run)

            return register

    return Entry()


@pytest.fixture
def commands(monkeypatch):
    """Put other commands in place of the installed ones."""

    def put(*entries) -> None:
        monkeypatch.setattr(cli, "entry_points", lambda group: list(entries))

    return put


def test_a_deepseek_error_is_one_message_and_status_1(commands, capsys):
    commands(failing(DeepSeekError("folder: what, expected, remedy.")))
    assert cli.main(["fail"]) == 1
    assert capsys.readouterr().err == "mlx-deepseek: folder: what, expected, remedy.\n"


@pytest.mark.parametrize("words", [["--debug", "fail"], ["fail", "--debug"]])
def test_debug_shows_where_it_comes_from(commands, words):
    commands(failing(DeepSeekError("why")))
    with pytest.raises(DeepSeekError, match="why"):
        cli.main(words)


def test_ctrl_c_is_status_130(commands):
    commands(failing(KeyboardInterrupt()))
    assert cli.main(["fail"]) == 130


@pytest.mark.parametrize("words", [[], ["nonsense"], ["generate"], ["generate", "nano", "--tpo"]])
def test_usage_errors_are_status_2(words, capsys):
    assert cli.main(words) == 2
    assert "usage: mlx-deepseek" in capsys.readouterr().err


def test_version_and_help(capsys):
    assert cli.main(["--version"]) == 0
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("mlx-deepseek 0.")
    for command in ("app", "bench", "chat", "convert", "generate", "info", "models"):
        assert f"    {command} " in out


def test_a_command_that_cannot_be_imported_leaves_the_others(commands, capsys):
    class Broken:
        name = "broken"

        def load(self):
            raise ImportError("no gradio")

    commands(Broken(), failing(DeepSeekError("fine")))
    assert cli.main(["--help"]) == 0
    captured = capsys.readouterr()
    assert "fail" in captured.out
    assert "'broken' is left out: no gradio" in captured.err
    assert cli.main(["broken"]) == 1
    assert "cannot be loaded: no gradio" in capsys.readouterr().err


def test_help_imports_neither_mlx_nor_gradio():
    code = (
        "import sys; from mlx_deepseek.cli import main; main(['--help']);"
        "print({'mlx', 'mlx_lm', 'gradio', 'transformers', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.endswith("\nset()\n"), done.stderr


def test_unknown_model_suggests_names(capsys):
    assert cli.main(["generate", "nanno", "hi"]) == 1
    assert "Did you mean nano" in capsys.readouterr().err


def test_generate_shows_thinking_then_the_answer(capsys):
    assert cli.main(["generate", "nano", QUESTION, "--max-tokens", "60"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("<think>\n")
    assert "\n</think>\n" in out


def test_generate_json_from_standard_input(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(QUESTION))
    assert cli.main(["generate", "nano", "--json", "--max-tokens", "7"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert done["model"] == "nano"
    assert done["usage"]["completion_tokens"] == 7
    assert done["finish_reason"] == "length"
    assert done["reasoning"]


def test_no_thinking_hides_it(capsys):
    words = ["generate", "nano", QUESTION, "--max-tokens", "60"]
    cli.main(words)
    shown = capsys.readouterr().out
    cli.main([*words, "--no-thinking"])
    assert capsys.readouterr().out.strip() == shown.partition("</think>")[2].strip()


def test_bad_sampling_and_empty_prompts_are_errors(capsys, monkeypatch):
    assert cli.main(["generate", "nano", "hi", "--temperature", "-1"]) == 1
    assert "temperature is -1.0" in capsys.readouterr().err
    assert cli.main(["generate", "nano", " "]) == 1
    assert "prompt is empty" in capsys.readouterr().err


def talk(monkeypatch, capsys, *lines: str) -> tuple[str, str]:
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines) + "\n"))
    assert cli.main(["chat", "nano", "--max-tokens", "40", "--no-thinking"]) == 0
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_chat_answers_line_by_line_until_exit(monkeypatch, capsys):
    once, _ = talk(monkeypatch, capsys, QUESTION)
    out, _ = talk(monkeypatch, capsys, "", QUESTION, "/regen", "/exit", "never read")
    assert out == once * 2


def test_chat_commands(monkeypatch, capsys):
    once, _ = talk(monkeypatch, capsys, QUESTION)
    lines = ["/system Be brief.", "/reset", "/edit", "/regen", "/think maybe", "/nothing", "/help"]
    out, err = talk(monkeypatch, capsys, *lines)
    assert out == ""
    for part in ("needs the new text", "not a user's", "on or off", "No command /nothing", "/exit"):
        assert part in err
    out, _ = talk(monkeypatch, capsys, "What is 2 + 2?", f"/edit {QUESTION}")
    assert out.endswith(once)


def test_writer_separates_thinking_and_closes_it_when_stopped():
    chunks = [Chunk(reasoning="a"), Chunk(reasoning="b\x1b[31m"), Chunk(text="c\x07")]
    chunks.append(Chunk(tool_calls=(ToolCall("add", "{}"),), finish_reason="tool_calls"))
    stream = io.StringIO()
    last = ChunkPrinter(stream).write(chunks)
    assert stream.getvalue() == "<think>\nab[31m\n</think>\n\nc\n[add {}]\n\n"
    assert last is chunks[-1]

    def broken():
        yield Chunk(reasoning="a")
        raise KeyboardInterrupt

    stream = io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        ChunkPrinter(stream).write(broken())
    assert stream.getvalue() == "<think>\na\n</think>\n\n\n"


def test_writer_dims_thinking_in_a_terminal():
    stream = io.StringIO()
    stream.isatty = lambda: True
    ChunkPrinter(stream).write([Chunk(reasoning="why"), Chunk(text="so")])
    assert stream.getvalue() == "\x1b[2mwhy\x1b[0m\n\nso\n"


def test_control_characters_do_not_reach_the_terminal():
    assert printable("a\x1b[2J\tb\nc\x9bd\r") == "a[2J\tb\ncd"


def test_commands_register_without_running():
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers()
    for command in (chat, generate):
        command.register(subparsers)
    args = parser.parse_args(["chat", "nano", "--stop", "x", "--stop", "y", "--thinking"])
    assert (args.stop, args.thinking, args.func) == (["x", "y"], True, chat.run)


def test_ctrl_c_during_an_answer_ends_the_process_cleanly():
    words = ["generate", "nano", QUESTION, "--temperature", "5", "--max-tokens", "490"]
    code = "import sys; from mlx_deepseek.cli import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.read(9)  # the answer has begun
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (0, 130), err.decode()  # 0: it was faster
    assert b"Traceback" not in err
