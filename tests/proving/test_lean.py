"""Finding the user's Lean: what is named, a project's by its Lake, the default one."""

import os
from pathlib import Path

import pytest

from mlx_deepseek.errors import LeanError
from mlx_deepseek.proving.lean import AT_ONCE, find_lean, project_around

LEAN = """#!/bin/sh
case "$1" in
--print-prefix) echo {prefix} ;;
-D*) [ {knows} = yes ] || exit 1 ;;
--version) echo "Lean (version {version}, x86_64, commit 0, Release)" ;;
esac
"""
LAKE = """#!/bin/sh
[ "$1" = env ] && shift
echo configuring
export LEAN_SYSROOT={prefix} LEAN_PATH=.lake/lib:{packages}
exec "$@"
"""


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def toolchain(folder: Path, version: str = "4.9.0-rc2", knows: str = "yes") -> Path:
    """A prefix whose `lean` tells its version and nothing else."""
    text = LEAN.format(prefix=folder, version=version, knows=knows)
    return script(folder / "bin" / "lean", text)


@pytest.fixture
def shims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs, the only one on PATH besides the system's."""
    folder = tmp_path / "shims"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return folder


def test_a_shim_is_replaced_by_what_it_starts(tmp_path: Path, shims: Path):
    real = toolchain(tmp_path / "real")
    script(shims / "lean", real.read_text())
    found = find_lean(unsafe=True)
    assert (found.executable, found.version, found.found) == (
        real,
        "4.9.0-rc2",
        "default toolchain",
    )
    assert found.server_options == (AT_ONCE,)
    assert not found.has_mathlib


def test_an_old_server_is_not_given_what_it_does_not_know(tmp_path: Path):
    executable = toolchain(tmp_path / "old", knows="no")
    assert find_lean(executable, unsafe=True).server_options == ()


def test_a_projects_lake_is_asked_once(tmp_path: Path, shims: Path):
    prefix, project = tmp_path / "tool_chain", tmp_path / "project"
    toolchain(prefix)
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "Mathlib.olean").touch()
    script(shims / "lake", LAKE.format(prefix=prefix, packages=packages))
    (project / "deep").mkdir(parents=True)
    (project / "lakefile.toml").touch()
    source = project / "deep" / "a.lean"
    source.touch()
    assert project_around(source) == project
    for found in (find_lean(near=source, unsafe=True), find_lean(project=project, unsafe=True)):
        assert found.project == project
        assert found.search_path == (project / ".lake" / "lib", packages)
        assert found.has_mathlib
        assert found.environment()["LEAN_PATH"].endswith(str(packages))
    found.require(["Mathlib"])
    with pytest.raises(LeanError, match="lake build"):
        found.require(["Other"])


def test_no_lean_names_the_remedy(shims: Path):
    with pytest.raises(LeanError, match="--project"):
        find_lean(unsafe=True)
    with pytest.raises(LeanError, match="nowhere"):
        find_lean("nowhere", unsafe=True)


def test_what_is_no_lean_is_said(tmp_path: Path, shims: Path):
    with pytest.raises(LeanError, match="Expected Lean 4"):
        find_lean(script(tmp_path / "lean", "#!/bin/sh\necho hello\n"), unsafe=True)
    with pytest.raises(LeanError, match="failed"):
        find_lean(script(tmp_path / "lean", "#!/bin/sh\necho no >&2; exit 1\n"), unsafe=True)
    script(shims / "lake", "#!/bin/sh\necho broken; exit 0\n")
    with pytest.raises(LeanError, match="lake build"):
        find_lean(project=tmp_path, unsafe=True)
