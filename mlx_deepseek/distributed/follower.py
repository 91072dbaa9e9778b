"""What a rank other than 0 does: hears what is next, does the same to its caches, computes."""

import os
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlx_deepseek.cache.blocks import marks_of
from mlx_deepseek.cache.prefix_cache import PrefixCache
from mlx_deepseek.checkpoint.load import Prepared, load_part, prepare
from mlx_deepseek.distributed.checks import facts, speed, speeds
from mlx_deepseek.distributed.digests import weights_digest
from mlx_deepseek.distributed.held_model import HeldModel
from mlx_deepseek.distributed.hosts_file import TIMEOUT_S
from mlx_deepseek.distributed.link import Link
from mlx_deepseek.distributed.plan import Plan
from mlx_deepseek.distributed.shares import following_part
from mlx_deepseek.errors import DeepSeekError
from mlx_deepseek.models.sizes import count
from mlx_deepseek.runtime.device import uncompiled
from mlx_deepseek.runtime.speed import copy_bytes_per_s

WATCH_S = 0.2
LOST = 3  # exit status


class Follower:
    """A rank other than 0, from the first message to the last."""

    def __init__(
        self,
        link: Link,
        timeout_s: float,
        memory: str | None,
        models: str | None,
        rest: Callable[[int], None] | None,
    ):
        self.link, self.timeout_s = link, timeout_s
        self.rest = rest  # waits for the end of a pause, by its number
        self.memory, self.models_folder = memory, models
        self.models: dict[int, HeldModel] = {}
        self.prepared: Prepared | None = None
        self._doing, self._ends_s = "", 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def run(self) -> None:
        """Follow until rank 0 ends."""
        while True:
            message = self.link.hear()
            with self.limited("a step"):
                for model, deed, told in message["deeds"]:
                    if model in self.models:
                        self.models[model].do(deed, told)
                if "step" in message:
                    self.models[message["step"]["model"]].step(self.link, message["step"])
            if "ask" in message:
                self.link.gather(self.answer(message["ask"], message["facts"]))
            if "rest" in message and self.rest is not None:
                self.rest(message["rest"])
            if "end" in message:
                return

    def answer(self, deed: str, told: dict[str, Any]) -> dict[str, Any]:
        """What rank 0 asks; errors that a user can act on are answers, too."""
        try:
            held = self.models.get(told.get("model", 0))
            if hasattr(held, f"ask_{deed}"):
                del told["model"]
                return getattr(held, f"ask_{deed}")(**told)
            return getattr(self, f"ask_{deed}")(**told)
        except DeepSeekError as error:
            return {"error": str(error)}

    def ask_facts(self) -> dict[str, Any]:
        """This machine."""
        return facts(self.memory)

    def ask_speeds(self) -> dict[str, Any]:
        """How fast this machine computes."""
        return speeds()

    def ask_speed(self) -> dict[str, Any]:
        """Take part in measuring the link."""
        return speed(self.link)

    def ask_prepare(self, source: str, **options: Any) -> dict[str, Any]:
        """Have a model's files on this disk; folders may be in another place than on rank 0's."""
        if self.models_folder is not None and os.path.isabs(source):
            source = str(Path(self.models_folder, Path(source).name))
        self.prepared = prepare(source, **options, alone=False)
        return {"digest": weights_digest(self.prepared.found.folder)}

    def ask_load(
        self, model: int, plan: dict[str, Any], prefix_bytes: int, prefix_folder: str | None
    ) -> dict[str, Any]:
        """Read this machine's part of what was prepared."""
        assert self.prepared is not None, "a model is prepared first"
        whole, rank = Plan.from_json(plan), self.link.rank
        part: Any = load_part(
            self.prepared,
            lambda built: following_part(built, whole, self.link.group),
            whole.parts[rank].capacities,
        )[0]
        key = f"{self.prepared.found.folder} {plan} {rank}"
        folder = None if prefix_folder is None else Path(prefix_folder)
        kept = bool(prefix_bytes or folder)
        marked = bool(marks_of(part.make_cache()))
        options: dict[str, Any] = {"memory_bytes": prefix_bytes, "marked": marked}
        prefixes = PrefixCache(key, folder=folder, **options) if kept else None
        self.models[model] = HeldModel(part, whole, prefixes)
        return {"bytes": mx.get_active_memory()}

    def ask_unload(self, model: int) -> dict[str, Any]:
        """Let a model go."""
        self.models.pop(model, None)
        mx.clear_cache()
        return {}

    def ask_bounds(self, model: int) -> dict[str, Any]:
        """What of a model a token reads here, and how fast it could be read."""
        read = count(self.models[model].part).read_bytes
        return {"read_bytes": read, "copy_bytes_per_s": copy_bytes_per_s()}

    @contextmanager
    def limited(self, doing: str) -> Generator[None]:
        """End this process if something takes too long: collectives cannot be interrupted."""
        self._doing, self._ends_s = doing, time.monotonic() + self.timeout_s
        try:
            yield
        finally:
            self._ends_s = 0.0

    def _watch(self) -> None:
        while True:
            time.sleep(WATCH_S)
            if self._ends_s and time.monotonic() > self._ends_s:
                leave(f"{self._doing} took longer than {self.timeout_s:g} s")


def follow(
    timeout_s: float = TIMEOUT_S,
    memory: str | None = None,
    models: str | None = None,
    rest: Callable[[int], None] | None = None,
) -> int:
    """Be a rank other than 0 until rank 0 ends; returns the exit status."""
    try:
        with uncompiled():
            link = Link()
            follower = Follower(link, timeout_s, memory, models, rest)
            if mx.metal.is_available():  # weights stay where the GPU reads them
                mx.set_wired_limit(int(mx.device_info()["max_recommended_working_set_size"]))
            follower.run()
    except DeepSeekError as error:
        leave(str(error))
    except RuntimeError as error:
        if "[ring]" not in str(error):
            raise
        leave("the connection to another machine was lost")
    return 0


def leave(why: str) -> None:
    """End this process at once, with a reason."""
    with suppress(OSError):  # whoever read this may have ended
        sys.stderr.write(f"mlx-deepseek: {why}\n")
        sys.stderr.flush()
    os._exit(LOST)
