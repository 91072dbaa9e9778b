"""Tools: the built-in ones, and MCP servers that behave and that do not."""

import json
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_deepseek.prompts.tools import ToolCall
from mlx_deepseek_app.conversation.tools_json import results
from mlx_deepseek_app.tools.builtin import calculate, tell_time
from mlx_deepseek_app.tools.mcp_servers import CHARACTERS_AT_MOST, McpServers, read_configs
from mlx_deepseek_app.tools.tool import ToolError
from mlx_deepseek_app.tools.toolbox import DECLINED, Toolbox, declined
from tests.app.conftest import wait_until

SERVER = str(Path(__file__).with_name("misbehaving.py"))


def call(name, **arguments):
    return ToolCall(name, json.dumps(arguments))


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("347 + 586", "933"),
        ("2 ** 10 - 1", "1023"),
        ("0.1 + 0.2", "0.3"),
        ("7 ÷ 2 × −3", "-10.5"),
        ("sqrt(2)^2", "2"),
        ("factorial(20)", "2432902008176640000"),
        ("max(1, 2, min(5, 4))", "4"),
        ("10 % 3 + 7 // 2", "4"),
    ],
)
def test_the_calculator_calculates(expression, value):
    assert calculate(expression) == value


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("9 ** 9 ** 9", "too large"),
        ("factorial(10**9)", "too large"),
        ("1 / 0", "division by zero"),
        ("(-1) ** 0.5", "no real number"),
        ("__import__('os')", "not understood"),
        ("'a' * 9", "not understood"),
        ("x = 1", "no arithmetic expression"),
        ("(" * 200, "no arithmetic expression"),
        ("[].append(1)", "not understood"),
        ("1" * 501, "longer than"),
        ("sqrt(1, 2)", "has no value"),
        ("True", "not understood"),
    ],
)
def test_the_calculator_says_what_it_cannot_do(expression, why):
    with pytest.raises(ToolError, match=why):
        calculate(expression)


@given(st.text("0123456789+-*/%(). e^,sqrtpi", max_size=40))
def test_no_expression_takes_long_or_breaks_it(expression):
    with suppress(ToolError):
        assert len(calculate(expression)) < 10_000


def test_the_clock_tells_time_anywhere():
    assert tell_time("Asia/Shanghai").endswith("UTC+0800")
    assert tell_time()[:3] in {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"}
    for wrong in ("Nowhere/Town", "../../etc/passwd", "\0"):
        with pytest.raises(ToolError, match="no timezone"):
            tell_time(wrong)


def test_calls_are_run_and_their_results_are_one_message():
    box = Toolbox()
    both = (call("calculator", expression="6 * 7"), call("calculator", expression="1 / 0"))
    given = [one["content"] for one in results(both, box.run(both))]
    assert given[0] == "42"
    assert given[1].startswith("Error: '1 / 0' has no value")
    assert box.run(both[:1]) == "42"
    for wrong in (ToolCall("calculator", "{"), ToolCall("calculator", "[1]"), call("gone")):
        assert box.run([wrong]).startswith("Error: ")
    assert [one["content"] for one in results(both, declined(both))] == [DECLINED] * 2
    assert {one["function"]["name"] for one in box.offered()} == {"calculator", "clock"}


def test_what_may_run_is_asked_for_once_in_each_conversation():
    box = Toolbox()
    sum_, time_, other = (call(name) for name in ("calculator", "clock", "weather"))
    assert not box.may_run("a", [sum_])
    box.allow("a", [sum_])
    assert box.may_run("a", [sum_])
    assert not box.may_run("a", [sum_, time_])
    assert not box.may_run("b", [sum_])
    assert not box.can_run([sum_, other])
    assert not box.can_run([])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "is no JSON"),
        ("[]", "mcpServers: Input should be a valid dictionary"),
        ('{"a": 1}', "a: Input should be"),
        ('{"a": {"command": 1}}', "a.command: Input should be a valid string"),
        ('{"a": {}}', "a: expected either a command or a url"),
        ('{"a": {"command": "x", "url": "y"}}', "either a command or a url"),
    ],
)
def test_a_file_of_servers_that_is_wrong_says_where(text, why, tmp_path):
    with pytest.raises(ToolError, match=why):
        read_configs(text)
    box = Toolbox(tmp_path)
    with pytest.raises(ToolError):
        box.configure(text)
    assert box.configured == ""


def test_where_visitors_share_the_app_no_program_is_started():
    box = Toolbox()
    assert box.configured is None
    with pytest.raises(ToolError, match="run programs"):
        box.configure('{"a": {"command": "true"}}')


def small(*options):
    return {"command": sys.executable, "args": [SERVER, *options]}


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    pytest.importorskip("mcp")
    box = Toolbox(tmp_path_factory.mktemp("data"))
    box.configure(json.dumps({"mcpServers": {"small": small()}}))
    yield box
    box.close()


def test_a_servers_tools_are_offered_and_called(box):
    assert box.wrong == []
    assert {"add", "huge", "calculator"} <= box.names
    (add,) = (one["function"] for one in box.offered() if one["function"]["name"] == "add")
    assert add["description"] == "Adds two numbers."
    assert set(add["parameters"]["properties"]) == {"a", "b"}
    assert box.run([call("add", a=2, b=40)]) == "42"
    assert ("add", "small", "Adds two numbers.") in box.describe()


def test_a_server_at_an_address_is_called_too(tmp_path):
    pytest.importorskip("mcp")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, SERVER, "--http", str(port)], stderr=DEVNULL)
    try:
        wait_until(lambda: is_open(port), 60)
        box = Toolbox(tmp_path)
        box.configure(json.dumps({"web": {"url": f"http://127.0.0.1:{port}/mcp"}}))
        assert box.wrong == []
        assert box.run([call("add", a=2, b=40)]) == "42"
        box.close()
    finally:
        process.kill()
        process.wait()


def is_open(port):
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def test_servers_that_misbehave_give_clear_errors(box, monkeypatch):
    huge = box.run([call("huge")])
    assert len(huge) < CHARACTERS_AT_MOST + 100
    assert huge.endswith("[cut: these are the first 20,000 of 1,000,000 characters]")
    assert box.run([call("fail")]) == "Error: fail: Error executing tool fail"  # no more is sent
    assert box.run([call("add", a="x")]).startswith("Error: ")
    with monkeypatch.context() as impatient:
        impatient.setattr(box._servers, "_timeout_s", 0.2)
        hung = box.run([call("hang")])
    assert hung == "Error: MCP server small: hang has not answered within 0.2 s."
    assert box.run([call("add", a=1, b=1)]) == "2"  # it lives on
    gone = box.run([call("leave")])
    assert gone.startswith("Error: MCP server small: leave failed")
    assert "has ended" in box.run([call("add", a=1, b=1)])
    box.refresh()
    assert box.run([call("add", a=1, b=1)]) == "2"  # and again


def test_servers_that_do_not_come_up_are_named_and_the_others_are_there(box):
    servers = {
        "small": small(),
        "broken": {"command": sys.executable, "args": ["-c", "raise SystemExit('no home')"]},
        "missing": {"command": "no-such-program"},
        "nobody": {"url": "http://127.0.0.1:9/mcp"},
        "off": {"command": "x", "disabled": True},
    }
    box.configure(json.dumps(servers))
    assert "add" in box.names
    told = "\n".join(box.wrong)
    assert "MCP server broken: " in told
    assert "It wrote: no home" in told
    assert "MCP server missing: FileNotFoundError" in told
    assert "MCP server nobody: " in told
    assert len(box.wrong) == 3


def test_a_server_that_says_nothing_is_not_waited_for(tmp_path):
    pytest.importorskip("mcp")
    other = Toolbox(tmp_path, McpServers(start_s=0.5))
    other.configure(json.dumps({"silent": {"command": "sleep", "args": ["60"]}}))
    other.close()
    assert other.wrong == ["MCP server silent: it has not come up within 0.5 s."]
