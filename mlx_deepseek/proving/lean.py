"""The user's own Lean: where it is, what it can import, and running it in the sandbox."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mlx_deepseek.errors import LeanError
from mlx_deepseek.proving.process import Ended, Limits, Process, StopSignal, run
from mlx_deepseek.proving.sandbox import Access, Kind, choose

STANDARD_AXIOMS = frozenset({"propext", "Classical.choice", "Quot.sound"})
# As in Mathlib: without them a misspelt type becomes a variable, and the statement is proved.
OPTIONS = ("-DautoImplicit=false", "-DrelaxedAutoImplicit=false")
AT_ONCE = "-Dserver.reportDelayMs=0"  # a server would wait 200 ms after every edit
PROJECT_FILES = ("lakefile.lean", "lakefile.toml", "lean-toolchain")
QUERY_S = 600.0  # `lake env` may build a project's configuration


@dataclass(frozen=True)
class Lean:
    """A Lean that works.

    `search_path` are folders of compiled modules beside its own; `found` says how it was found;
    `readable` is what else it reads; `axioms` are those that a proof may rest on; `stop` ends all
    that it runs; `server_options` are given to servers.
    """

    executable: Path
    version: str
    prefix: Path
    search_path: tuple[Path, ...] = ()
    project: Path | None = None
    found: str = ""
    sandbox: Kind = "none"
    readable: tuple[Path, ...] = ()
    axioms: frozenset[str] = field(default=STANDARD_AXIOMS)
    stop: StopSignal | None = None
    server_options: tuple[str, ...] = ()

    @property
    def has_mathlib(self) -> bool:
        """Whether `import Mathlib` can work."""
        return not self.missing(["Mathlib"])

    def missing(self, modules: Sequence[str]) -> list[str]:
        """Those of the modules that are not built."""
        places = (*self.search_path, self.prefix / "lib" / "lean")
        return [
            module
            for module in modules
            if not any((place / (module.replace(".", "/") + ".olean")).exists() for place in places)
        ]

    def environment(self, extra: Sequence[Path] = ()) -> dict[str, str]:
        """All that Lean is told of this machine; `extra` folders of modules come first."""
        path = os.pathsep.join(map(str, (*extra, *self.search_path)))
        return {"LEAN_PATH": path, "LEAN_SYSROOT": str(self.prefix), "LANG": "C.UTF-8"}

    def access(self, readable: Sequence[Path] = (), writable: Sequence[Path] = ()) -> Access:
        """The sandbox's holes."""
        own = (self.prefix, *self.search_path, *self.readable)
        return Access((*own, *readable), tuple(writable))

    def run(
        self,
        arguments: Sequence[str],
        *,
        cwd: Path,
        limits: Limits,
        extra: Sequence[Path] = (),
        writable: Sequence[Path] = (),
    ) -> Ended:
        """Run `lean` to its end; `extra` folders are readable and searched for modules."""
        return run(
            [str(self.executable), *_memory(limits), *OPTIONS, *arguments],
            cwd=cwd,
            env=self.environment(extra),
            limits=limits,
            sandbox=self.sandbox,
            access=self.access((*extra, cwd), writable),
            stop=self.stop,
        )

    def start_worker(self, uri: str, *, cwd: Path, limits: Limits) -> Process:
        """Start a server for one document: it speaks the language server protocol."""
        return Process(
            [
                str(self.executable),
                *_memory(limits),
                *OPTIONS,
                *self.server_options,
                "--worker",
                uri,
            ],
            cwd=cwd,
            env=self.environment(),
            limits=limits,
            sandbox=self.sandbox,
            access=self.access((cwd,)),
            errors=tempfile.TemporaryFile(),  # closed with the process's object
            stop=self.stop,
        )

    def require(self, modules: Sequence[str]) -> None:
        """Check that a statement's imports are built.

        Raises:
            LeanError: one is not; the message has the command that mends it.
        """
        lacking = self.missing(modules)
        if not lacking:
            return
        what = "Mathlib" if any(m.split(".")[0] == "Mathlib" for m in lacking) else lacking[0]
        if self.project is None:
            raise LeanError(
                f"{what} is not built for {self.executable} (Lean {self.version}). Name a project "
                "that depends on it (`--project FOLDER`)."
            )
        mend = "lake exe cache get" if what == "Mathlib" else "lake build"
        raise LeanError(f"{what} is not built in {self.project}: run `{mend}` there.")


def _memory(limits: Limits) -> list[str]:
    return [f"-M{limits.resident_bytes >> 20}"]


def find_lean(
    lean: str | Path | None = None,
    *,
    project: str | Path | None = None,
    near: str | Path | None = None,
    unsafe: bool = False,
) -> Lean:
    """Find Lean: an executable, a project's, the project's around the file `near`, or the default.

    Raises:
        LeanError: there is none, a project's cannot be asked, or there is no sandbox.
    """
    sandbox = choose(unsafe=unsafe)
    if lean is not None:
        return _asked(_executable(str(lean)), sandbox, "named")
    if project is not None:
        return _of_project(Path(project).resolve(), sandbox, "named project")
    if near is not None and (around := project_around(Path(near).resolve())):
        return _of_project(around, sandbox, "project around the file")
    return _asked(_executable("lean"), sandbox, "default toolchain")


def project_around(path: Path) -> Path | None:
    """The nearest folder at or above a path that is a Lean project."""
    for folder in (path, *path.parents):
        if folder.is_dir() and any((folder / name).exists() for name in PROJECT_FILES):
            return folder
    return None


def _executable(name: str) -> Path:
    elan = Path.home() / ".elan" / "bin"
    found = shutil.which(name) or shutil.which(name, path=str(elan))
    if found is None:
        raise LeanError(
            f"{name}: Lean was not found, on PATH or in {elan}. Install it with elan "
            "(https://lean-lang.org/install), or name it (`--lean FILE`, `--project FOLDER`)."
        )
    return Path(found)


def _of_project(folder: Path, sandbox: Kind, found: str) -> Lean:
    """Asks Lake once; from then on Lean is started without it."""
    tell = "import json, os; print('\\n' + json.dumps(dict(os.environ)))"
    command = [str(_executable("lake")), "env", sys.executable, "-I", "-c", tell]
    told = _query(command, cwd=folder)
    try:
        env = json.loads(told.splitlines()[-1])
    except (IndexError, ValueError) as error:
        raise LeanError(f"{folder}: `lake env` said {told[-200:]!r}. Run `lake build`.") from error
    root = env.get("LEAN_SYSROOT")
    executable = Path(root, "bin", "lean") if root else shutil.which("lean", path=env.get("PATH"))
    if executable is None:
        raise LeanError(f"{folder}: `lake env` names no Lean. Check its lean-toolchain file.")
    folders = filter(None, env.get("LEAN_PATH", "").split(os.pathsep))
    return _asked(
        Path(executable), sandbox, found, tuple((folder / f).resolve() for f in folders), folder
    )


def _asked(
    executable: Path,
    sandbox: Kind,
    found: str,
    search_path: tuple[Path, ...] = (),
    project: Path | None = None,
) -> Lean:
    """A toolchain manager's `lean` is replaced by the one that it would start."""
    prefix = Path(_query([str(executable), "--print-prefix"]).strip()).resolve()
    if (real := prefix / "bin" / "lean").exists():
        executable = real
    told = _query([str(executable), "--version"])
    version = re.search(r"version (\S+?),", told)
    if version is None:
        raise LeanError(f"{executable} --version said {told[:200]!r}. Expected Lean 4.")
    lean = Lean(executable, version[1], prefix, search_path, project, found, sandbox)
    try:
        _query([str(executable), AT_ONCE, "--version"])
    except LeanError:  # an old version, that does not know the option and does not wait
        return lean
    return replace(lean, server_options=(AT_ONCE,))


def _query(command: list[str], cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=QUERY_S,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LeanError(f"{command[0]} cannot be run: {error}.") from error
    if done.returncode:
        raise LeanError(f"{' '.join(command[:2])} failed: {done.stderr.strip()[-500:]}")
    return done.stdout
