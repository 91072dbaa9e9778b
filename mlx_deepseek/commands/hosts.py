"""`mlx-deepseek hosts`: whether several machines can hold a model together, and how they would."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlx_deepseek.commands.options import add_command

SUMMARY = "check machines that are to hold a model together, and say what to mend"


def register(subparsers: Any) -> None:
    """Add the `hosts` sub-command."""
    parser = add_command(subparsers, "hosts", SUMMARY)
    parser.add_argument("hosts", metavar="FILE", help="the machines, as a JSON file")
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", help="also compare the weights that they have of it"
    )
    parser.add_argument("--recipe", help="quantization of a Hugging Face checkpoint (4bit)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Check and print; DeepSeekError is the caller's to print."""
    found = check(args.hosts, args.model, args.recipe)
    if args.json:
        print(json.dumps(found, indent=2))  # noqa: T201
        return 0
    show(f"{len(found['machines'])} machines, all of them fit together", machine_rows(found))
    return 0


def check(hosts: str, model: str | None = None, recipe: str | None = None) -> dict[str, Any]:
    """What the machines of a hosts file tell, and the speed of their links.

    Raises:
        HostsError: one cannot be reached, or has other versions or weights; says what to do.
        DeepSeekError: the file is damaged, or there is no such model.
    """
    from functools import partial

    from mlx_deepseek.checkpoint.load import prepare
    from mlx_deepseek.distributed import Group
    from mlx_deepseek.distributed.checks import facts, require_same, speed
    from mlx_deepseek.distributed.load import same_weights
    from mlx_deepseek.engine.load import elsewhere

    group = Group.of(hosts)
    assert group is not None, "a file names a group"
    names = group.names()
    told = group.worker.call(group.ask, "facts", partial(facts, group.memory))
    require_same(names, told, "versions")
    link = group.worker.call(group.ask, "speed", lambda: speed(group.link))[0]
    machines = [{"name": name, **one} for name, one in zip(names, told, strict=True)]
    if model is not None:
        folder = prepare(model, recipe, alone=False).found.folder
        asked = {"source": elsewhere(model), "recipe": recipe}
        digests = group.worker.call(same_weights, group, folder, asked)
        machines = [{**a, **b} for a, b in zip(machines, digests, strict=True)]
    return {"machines": machines, "link": link}


def split(
    model: Any,
    config: Any,
    folder: Path | None,
    hosts: str,
    mode: str = "pipeline",
    disk: str | None = None,
) -> dict[str, Any]:
    """How a built model would be split over machines, what each would hold, and how fast it is.

    `disk` is how fast each machine reads experts; without, there is no forecast where some would.

    Raises:
        HostsError, MemoryLimitError, ConfigError: as `load` with the same hosts.
    """
    from mlx_deepseek.commands.forecast import speed
    from mlx_deepseek.distributed import Group
    from mlx_deepseek.distributed.checks import machines, speeds
    from mlx_deepseek.distributed.forecast import LinkSpeed, decode_tps
    from mlx_deepseek.distributed.model_bytes import expected_bytes
    from mlx_deepseek.distributed.plan import plan
    from mlx_deepseek.distributed.states import token_bytes
    from mlx_deepseek.models.forecast import Speeds

    disk_bytes_per_s = None if disk is None else speed(disk)
    found = check(hosts)
    names = [one["name"] for one in found["machines"]]
    sizes = expected_bytes(model, config, folder)
    chosen = plan(sizes, machines(names, found["machines"]), mode)
    expected = None
    if disk_bytes_per_s or not any(part.capacities for part in chosen.parts):
        group = Group.of(hosts)
        assert group is not None
        told = group.worker.call(group.ask, "speeds", speeds)
        each = [Speeds(one["memory"], disk_bytes_per_s or 1.0) for one in told]
        link, state = LinkSpeed(**found["link"]), token_bytes(config)
        expected = decode_tps(sizes, chosen, each, link, state)
    return {
        "mode": mode,
        "parts": [
            {"name": name, **part}
            for name, part in zip(names, chosen.as_json()["parts"], strict=True)
        ],
        "decode_tps": expected,
        "link": found["link"],
    }


def machine_rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Labels and values for a reader."""
    from mlx_deepseek.runtime.units import in_words

    rows = []
    for one in found["machines"]:
        versions = ", ".join(f"{name} {number}" for name, number in one["versions"].items())
        usable = in_words(one["usable_bytes"])
        text = f"{one['device']}, {usable} for a model\nPython {one['python']}, {versions}"
        if "digest" in one:
            text += f"\nweights {one['digest'][:12]}"
        rows.append((one["name"], text))
    return [*rows, ("links", link_words(found["link"]))]


def link_words(link: dict[str, float]) -> str:
    """The speed of a link for a reader."""
    from mlx_deepseek.runtime.units import in_words

    return f"{in_words(link['bytes_per_s'])}/s, {link['latency_s'] * 1e3:.2f} ms per message"


def split_rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Labels and values of `split` for a reader."""
    from mlx_deepseek.commands.forecast import between
    from mlx_deepseek.runtime.units import in_words

    rows = []
    for part in found["parts"]:
        what = f"layers {part['first']} to {part['last'] - 1}"
        if found["mode"] == "tensor":
            what = f"a share of all {part['last']} layers"
        held = sum(part["capacities"].values())
        disk = f", {held} routed experts of them in memory" if part["capacities"] else ""
        rows.append((part["name"], f"{what}, {in_words(part['nbytes'])}{disk}"))
    speed = "no forecast: experts are read from disk. Say how fast, with --disk, as 6GB/s"
    if found["decode_tps"]:
        speed = f"{between(*found['decode_tps'])} tokens per second (forecast)"
    return [*rows, ("links", link_words(found["link"])), ("together", speed)]


def show(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Print a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, show_header=False)
    for label, value in rows:
        table.add_row(label, value)
    Console().print(table)
