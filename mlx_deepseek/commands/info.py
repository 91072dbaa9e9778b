"""`mlx-deepseek info`: what a model costs, before it is downloaded or loaded."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlx_deepseek.commands.forecast import add_machine, expect, forecast_rows
from mlx_deepseek.commands.hosts import split, split_rows
from mlx_deepseek.commands.options import add_command, add_hosts

SUMMARY = "show a model's parameters, bytes, cache, and the context that fits this machine"


def register(subparsers: Any) -> None:
    """Add the `info` sub-command."""
    parser = add_command(subparsers, "info", SUMMARY)
    parser.add_argument("model", metavar="MODEL", help='"nano", a folder, a hub id or its name')
    parser.add_argument("--revision", help="branch, tag or commit of a hub id")
    add_machine(parser)
    add_hosts(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print what `describe` finds; DeepSeekError is the caller's to print."""
    asked = {"memory": args.memory, "disk": args.disk, "bandwidth": args.bandwidth}
    facts = describe(args.model, args.revision, **asked)
    if args.hosts is not None:
        facts["several_machines"] = several(args)
    if args.json:
        print(json.dumps(facts, indent=2))  # noqa: T201
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table(title=facts["name"], show_header=False)
    expected = facts["forecast"]
    shown = rows(facts) + (forecast_rows(expected) if expected else [])
    if args.hosts is not None:
        shown += split_rows(facts["several_machines"])
    for label, value in shown:
        table.add_row(label, value)
    Console().print(table)
    return 0


def several(args: argparse.Namespace) -> dict[str, Any]:
    """How the model would be split over the machines of a hosts file."""
    from mlx_deepseek import models

    _, folder, config, _ = find(args.model, args.revision)
    return split(models.build(config), config, folder, args.hosts, args.split, args.disk)


def describe(model: str, revision: str | None = None, **machine: str | None) -> dict[str, Any]:
    """Everything known of a model from its config and, in a folder, its files' headers.

    Sizes are bytes, `context_length` and `longest_context` tokens. `stored_bytes` is null for a
    model that is not on this machine. `forecast` is for a `machine` as in `forecast.expect`.

    Raises:
        DeepSeekError: not found, damaged, or of an architecture this version cannot compute.
    """
    from mlx_deepseek import models
    from mlx_deepseek.checkpoint.load import context_length
    from mlx_deepseek.models import sizes as memory_sizes
    from mlx_deepseek.runtime import memory
    from mlx_deepseek.runtime.device import compute_item_bytes

    name, folder, config, entry = find(model, revision)
    built: Any = models.build(config)
    models.require_language(built, name)
    sizes = memory_sizes.count(built)
    stored = stored_bytes(folder, len(built.layers)) if folder else None
    weights, basis = memory_bytes(model, folder, sizes.total + sizes.mtp)
    window = context_length(config, entry)
    machine_bytes = memory.machine_memory_bytes()
    cache_here = memory_sizes.cache_bytes_per_token(built, config, compute_item_bytes())
    return {
        "name": name,
        "model_type": config["model_type"],
        "parameters": sizes.total,
        "active_parameters": sizes.active,
        "mtp_parameters": sizes.mtp,
        "stored_bytes": stored and stored[0],
        "bits_per_weight": stored and 8 * stored[0] / (sizes.total + sizes.mtp * stored[1]),
        "memory_bytes": weights,
        "memory_basis": basis,
        "cache_bytes_per_token": memory_sizes.cache_bytes_per_token(built, config),
        "context_length": window,
        "machine_memory_bytes": machine_bytes,
        "longest_context": memory.fits(weights, cache_here, machine_bytes, window).context,
        "forecast": expect(built, config, folder, **machine),
    }


def find(model: str, revision: str | None) -> tuple[str, Path | None, dict[str, Any], Any]:
    """Name, folder if it is on this machine, config, and catalog entry; downloads config.json.

    Raises:
        DeepSeekError: nothing has that name.
    """
    from mlx_deepseek import catalog, models
    from mlx_deepseek.checkpoint import hub, resolve
    from mlx_deepseek.checkpoint.files import MTP_FILE, read_config

    repo = None if Path(model).expanduser().is_dir() else resolve.hub_id(model)
    if repo is None:
        found = resolve.locate(model)
        config = read_config(found.folder)
        converted = "quantization" in config and not (found.folder / MTP_FILE).is_file()
        config = models.without_mtp(config) if converted else config
        return found.name, found.folder, config, found.entry
    entry = catalog.find(repo)
    if entry is not None and entry.repo.lower() == repo.lower() and revision is None:
        return entry.repo, hub.cached_snapshot(entry.repo, None), dict(entry.config), entry
    config = hub.fetch_config(repo, revision)
    return repo, hub.cached_snapshot(repo, revision), config, entry


def stored_bytes(folder: Path, layers: int) -> tuple[int, bool]:
    """Bytes of the weights on disk, and whether MTP layers, past `layers`, are among them.

    Raises:
        CheckpointError: files are missing or damaged.
    """
    from mlx_deepseek.checkpoint.files import file_header, weight_files

    extra = ("mtp.", f"model.layers.{layers}.")
    tensors = [info for path in weight_files(folder) for info in file_header(path)[0].values()]
    return sum(info.nbytes for info in tensors), any(
        info.name.startswith(extra) for info in tensors
    )


def memory_bytes(model: str, folder: Path | None, parameters: int) -> tuple[int, str]:
    """Bytes of the weights in memory, and how they are known.

    Raises:
        DeepSeekError: the folder is damaged.
    """
    from mlx_deepseek.catalog.embedded import FOLDERS
    from mlx_deepseek.checkpoint.converter import DEFAULT_RECIPE, converter
    from mlx_deepseek.checkpoint.room import loaded_bytes
    from mlx_deepseek.runtime import memory

    if folder is None:
        return memory.estimate_bytes(parameters), f"estimate, recipe {DEFAULT_RECIPE}"
    if model not in FOLDERS and (source := converter().open(folder)).is_release:
        planned = converter().plan(source, DEFAULT_RECIPE).summary()
        return planned["bytes_out"], f"after conversion, recipe {DEFAULT_RECIPE}"
    return loaded_bytes(folder), "without conversion"


def rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Labels and values for a reader."""
    stored = facts["stored_bytes"]
    on_disk = "not on this machine"
    if stored is not None:
        on_disk = f"{size(stored)}, {facts['bits_per_weight']:.2f} bits per weight"
    longest = facts["longest_context"]
    here = f"{longest:,} tokens" if longest else "none: the weights do not fit"
    mtp = [("of MTP layers, apart", number(facts["mtp_parameters"]))]
    return [
        ("architecture", facts["model_type"]),
        ("parameters", number(facts["parameters"])),
        ("active per token", number(facts["active_parameters"])),
        *(mtp if facts["mtp_parameters"] else []),
        ("weights on disk", on_disk),
        ("weights in memory", f"{size(facts['memory_bytes'])} ({facts['memory_basis']})"),
        ("cache per token", f"{facts['cache_bytes_per_token']:,} bytes (bfloat16)"),
        ("context window", f"{facts['context_length']:,} tokens"),
        ("memory of this machine", size(facts["machine_memory_bytes"])),
        ("longest context here", here),
    ]


def size(nbytes: float) -> str:
    """Bytes as GB, or MB below one."""
    return f"{nbytes / 1e9:,.1f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:,.1f} MB"


def number(count: float) -> str:
    """A count of parameters as 671.0B, or 4.2M."""
    return f"{count / 1e9:,.1f}B" if count >= 1e9 else f"{count / 1e6:,.1f}M"
