"""Hostile programs under the supervisor: limits hold, and nothing of them is left."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mlx_deepseek.proving.process import Ended, Limits, MiB, Process, StopSignal, run
from mlx_deepseek.proving.sandbox import Access, Kind, available, choose, confine
from tests.waiting import wait_until

PYTHON = os.path.realpath(sys.executable)
LIMITS = Limits(
    seconds=20,
    resident_bytes=200 * MiB,
    file_bytes=8 * MiB,
    folder_bytes=16 * MiB,
    output_bytes=4 * MiB,
)
KINDS: tuple[Kind, ...] = (*available(), "none")


def python(
    code: str, folder: Path, *, sandbox: Kind = "none", limits: Limits = LIMITS, **more: StopSignal
) -> Ended:
    access = Access((Path(sys.base_prefix),), (folder,))
    env = {"LANG": "C.UTF-8", "MARK": str(folder)}
    command = [PYTHON, "-IS", "-c", code]
    return run(command, cwd=folder, env=env, limits=limits, sandbox=sandbox, access=access, **more)


def left(mark: Path) -> list[int]:
    """Processes that were started with this folder in their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"MARK={mark}".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.mark.parametrize("kind", KINDS)
def test_output_and_exit_code_come_back(kind: Kind, tmp_path: Path):
    code = "import os, sys; print(os.getcwd()); sys.stderr.write('e'); sys.exit(3)"
    ended = python(code, tmp_path, sandbox=kind)
    assert (ended.returncode, ended.stopped) == (3, "")
    assert ended.stdout.decode().strip() == str(tmp_path)
    assert ended.stderr == b"e"


@pytest.mark.parametrize("kind", available())
def test_a_sandbox_keeps_files_and_network_away(kind: Kind, tmp_path: Path):
    outside = tmp_path.parent / f"outside-{tmp_path.name}"
    outside.write_text("secret")
    server = socket.create_server(("127.0.0.1", 0))
    code = f"""
import socket
def attempt(what):
    try:
        what()
        print("done")
    except OSError:
        print("refused")
attempt(lambda: open({str(outside)!r}).read())
attempt(lambda: open({str(outside)!r}, "w"))
attempt(lambda: open("/etc/passwd").read())
attempt(lambda: open("/tmp/of-nobody", "w"))
attempt(lambda: socket.create_connection({server.getsockname()!r}, 1))
attempt(lambda: open("inside", "w").write("x"))
"""
    with server:
        ended = python(code, tmp_path, sandbox=kind)
    assert ended.stdout.decode().split() == ["refused"] * 5 + ["done"], ended.stderr
    assert outside.read_text() == "secret"


def test_the_environment_is_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SECRET_TOKEN", "x")
    for kind in KINDS:
        ended = python("import os; print(sorted(os.environ))", tmp_path, sandbox=kind)
        assert b"SECRET_TOKEN" not in ended.stdout


@pytest.mark.parametrize(
    ("code", "stopped"),
    [
        ("while True: pass", "time"),
        ("x = []\nwhile True: x.append(bytearray(b'x' * 10**7))", "memory"),
        ("while True: print('x' * 10**6)", "output"),
        (
            "import itertools\nfor i in itertools.count(): open(f'f{i}', 'w').write('x' * 2**22)",
            "disk",
        ),
    ],
    ids=["endless", "memory", "output", "disk"],
)
def test_limits_end_a_program(code: str, stopped: str, tmp_path: Path):
    seconds = 1.0 if stopped == "time" else 60.0
    ended = python(code, tmp_path, limits=Limits(**vars(LIMITS) | {"seconds": seconds}))
    assert ended.stopped == stopped
    assert ended.seconds < 60


def test_one_file_stays_below_its_limit(tmp_path: Path):
    python("open('big', 'wb').write(b'x' * 2**25)", tmp_path)
    assert (tmp_path / "big").stat().st_size <= LIMITS.file_bytes


FAMILY = """
import os, time
for session in (False, True):
    if os.fork() == 0:
        if session:
            os.setsid()
            if os.fork():
                os._exit(0)
        time.sleep(600)
print("ready", flush=True)
"""


@linux
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", ["", "time.sleep(600)"], ids=["ends", "hangs"])
def test_children_are_ended_with_it(kind: Kind, end: str, tmp_path: Path):
    limits = Limits(**vars(LIMITS) | {"seconds": 1.5})
    python(FAMILY + end, tmp_path, sandbox=kind, limits=limits)
    assert left(tmp_path) == []


@linux
def test_stop_ends_everything_within_a_second(tmp_path: Path):
    stop = StopSignal()
    threading.Timer(0.7, stop.stop).start()
    start = time.monotonic()
    python(FAMILY + "time.sleep(600)", tmp_path, stop=stop)
    assert time.monotonic() - start < LIMITS.seconds  # a second on a machine that is free
    assert left(tmp_path) == []
    assert python("print(1)", tmp_path, stop=stop).stdout == b""  # nothing begins afterwards


@linux
def test_nothing_survives_a_caller_that_is_killed(tmp_path: Path):
    code = f"""
import sys
from pathlib import Path
from mlx_deepseek.proving.process import Limits, run
from mlx_deepseek.proving.sandbox import Access
run([{PYTHON!r}, "-IS", "-c", {FAMILY + "time.sleep(600)"!r}], cwd=Path({str(tmp_path)!r}),
    env={{"MARK": {str(tmp_path)!r}}}, limits=Limits(), sandbox="none", access=Access())
"""
    caller = subprocess.Popen([sys.executable, "-c", code])
    wait_until(lambda: len(left(tmp_path)) >= 3)
    caller.send_signal(signal.SIGKILL)
    caller.wait()
    wait_until(lambda: not left(tmp_path))


def test_a_process_can_be_stopped_twice(tmp_path: Path):
    process = Process(
        ["/bin/sleep", "60"], cwd=tmp_path, env={}, limits=LIMITS, sandbox="none", access=Access()
    )
    assert process.stop() == process.stop()


def test_macs_profile_names_what_is_allowed(tmp_path: Path):
    access = Access((Path('/a"b'),), (tmp_path,))
    confined = confine("sandbox-exec", ["lean"], access, {}, tmp_path)
    assert confined.command[0] == "/usr/bin/sandbox-exec"
    profile = confined.command[2]
    assert profile.startswith("(version 1)\n(deny default)")
    assert '(subpath "/a\\"b")' in profile
    assert f'(allow file-write* (subpath "{tmp_path}"))' in profile


def test_without_a_sandbox_one_has_to_say_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mlx_deepseek.proving.sandbox.available", lambda: ())
    assert choose(unsafe=True) == "none"
    with pytest.raises(Exception, match="--unsafe"):
        choose()
