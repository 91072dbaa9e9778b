"""A model on all machines of a group: planned, prepared and read by each."""

import itertools
from functools import partial
from pathlib import Path
from typing import Any

from mlx_deepseek.checkpoint.load import Loaded, Prepared, load_prepared
from mlx_deepseek.distributed.checks import facts, machines, require_same
from mlx_deepseek.distributed.digests import weights_digest
from mlx_deepseek.distributed.followers import ModelFollowers
from mlx_deepseek.distributed.group import Group
from mlx_deepseek.distributed.model_bytes import model_bytes
from mlx_deepseek.distributed.plan import plan
from mlx_deepseek.distributed.shares import leading_part

_numbers = itertools.count(1)


def same_weights(group: Group, folder: Path, asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Have the others prepare a model that is in `folder` here; the digest of each rank's weights.

    Raises:
        HostsError: a machine is lost, or has other weights.
        DeepSeekError: as `prepare`.
    """
    digests = group.ask("prepare", lambda: {"digest": weights_digest(folder)}, **asked)
    require_same(group.names(), digests, "digest")
    return digests


def load_split(
    group: Group,
    prepared: Prepared,
    mode: str,
    *,
    memory: str | int | None,
    asked: dict[str, Any],
    prefixes: tuple[int, str | Path | None],
) -> tuple[Loaded, ModelFollowers, str]:
    """This machine's part of a model, those who have the others, and the plan as a text.

    `asked` are the options of `prepare`, for the other machines; `prefixes` the bytes and the
    folder in which each keeps blocks of prompts. Call it on the thread that computes.

    Raises:
        HostsError: a machine is lost, or has other versions or weights.
        MemoryLimitError: the machines have too little memory together.
        DeepSeekError: as `load_prepared`.
    """
    folder, names = prepared.found.folder, group.names()
    told = group.ask("facts", partial(facts, memory or group.memory))
    require_same(names, told, "versions")
    chosen = plan(model_bytes(folder), machines(names, told), mode)
    same_weights(group, folder, asked)

    followers = ModelFollowers(group, next(_numbers), mode)
    loaded: list[Loaded] = []

    def own() -> dict[str, Any]:
        part = partial(leading_part, plan=chosen, followers=followers)
        loaded.append(load_prepared(prepared, part, chosen.parts[0].capacities))
        return {}

    kept, place = prefixes
    try:
        group.ask(
            "load",
            own,
            model=followers.number,
            plan=chosen.as_json(),
            prefix_bytes=kept,
            prefix_folder=None if place is None else str(place),
        )
    except Exception:
        if group.lost is None:
            group.ask("unload", model=followers.number)
        raise
    return loaded[0], followers, str(chosen.as_json())
