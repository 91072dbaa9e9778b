"""`mlx-deepseek info`: what a model costs, before it is downloaded or loaded."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SUMMARY = "show a model's parameters, bytes, cache, and the context that fits this machine"


def register(subparsers: Any) -> None:
    """Add the `info` sub-command."""
    parser = subparsers.add_parser("info", help=SUMMARY, description=f"{SUMMARY.capitalize()}.")
    parser.add_argument("model", metavar="MODEL", help='"nano", a folder, a hub id or its name')
    parser.add_argument("--revision", help="branch, tag or commit of a hub id")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print what `describe` finds; DeepSeekError is the caller's to print."""
    facts = describe(args.model, args.revision)
    if args.json:
        print(json.dumps(facts, indent=2))  # noqa: T201
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table(title=facts["name"], show_header=False)
    for label, value in rows(facts):
        table.add_row(label, value)
    Console().print(table)
    return 0


def describe(model: str, revision: str | None = None) -> dict[str, Any]:
    """Everything known of a model from its config and, in a folder, its files' headers.

    Sizes are bytes, `context_length` and `longest_context` tokens. `stored_bytes` is null for a
    model that is not on this machine.

    Raises:
        DeepSeekError: not found, damaged, or of an architecture this version cannot compute.
    """
    from mlx_deepseek import memory, models
    from mlx_deepseek.checkpoint import compute_dtype
    from mlx_deepseek.loading import context_length

    name, folder, config, entry = find(model, revision)
    built = models.build(config)
    sizes = memory.count(built)
    stored = stored_bytes(folder, config) if folder else None
    weights, basis = memory_bytes(model, folder, sizes.total + sizes.mtp)
    window = context_length(config, entry)
    machine = memory.machine_memory_bytes()
    item_bytes = memory.CACHE_ITEM_BYTES if compute_dtype() is None else 4
    cache_here = memory.cache_bytes_per_token(built, config, item_bytes)
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
        "cache_bytes_per_token": memory.cache_bytes_per_token(built, config),
        "context_length": window,
        "machine_memory_bytes": machine,
        "longest_context": memory.fits(weights, cache_here, machine, window).context,
    }


def find(model: str, revision: str | None) -> tuple[str, Path | None, dict[str, Any], Any]:
    """Name, folder if it is on this machine, config, and catalog entry; downloads config.json.

    Raises:
        DeepSeekError: nothing has that name.
    """
    from mlx_deepseek import catalog, hub, sources
    from mlx_deepseek.checkpoint import MTP_FILE, MTP_KEY, read_config

    repo = None if Path(model).expanduser().is_dir() else sources.hub_id(model)
    if repo is None:
        found = sources.locate(model)
        config = read_config(found.folder)
        converted = "quantization" in config and not (found.folder / MTP_FILE).is_file()
        return found.name, found.folder, config | ({MTP_KEY: 0} if converted else {}), found.entry
    entry = catalog.find(repo)
    if entry is not None and entry.repo.lower() == repo.lower() and revision is None:
        return entry.repo, hub.cached_snapshot(entry.repo, None), dict(entry.config), entry
    config = hub.fetch_config(repo, revision)
    return repo, hub.cached_snapshot(repo, revision), config, entry


def stored_bytes(folder: Path, config: Mapping[str, Any]) -> tuple[int, bool]:
    """Bytes of the weights on disk, and whether MTP layers are among them.

    Raises:
        CheckpointError: files are missing or damaged.
    """
    from mlx_deepseek.checkpoint import weight_files
    from mlx_deepseek.tensor_file import read_header

    extra = ("mtp.", f"model.layers.{config['num_hidden_layers']}.")
    tensors = [info for path in weight_files(folder) for info in read_header(path)[0].values()]
    return sum(info.nbytes for info in tensors), any(
        info.name.startswith(extra) for info in tensors
    )


def memory_bytes(model: str, folder: Path | None, parameters: int) -> tuple[int, str]:
    """Bytes of the weights in memory, and how they are known.

    Raises:
        DeepSeekError: the folder is damaged.
    """
    from mlx_deepseek import memory
    from mlx_deepseek.converted import DEFAULT_RECIPE
    from mlx_deepseek.converters import converter
    from mlx_deepseek.embedded import FOLDERS

    if folder is None:
        return memory.estimate_bytes(parameters), f"estimate, recipe {DEFAULT_RECIPE}"
    if model not in FOLDERS and converter().is_source(folder):
        planned = converter().plan(folder, DEFAULT_RECIPE).summary()
        return planned["bytes_out"], f"after conversion, recipe {DEFAULT_RECIPE}"
    return memory.loaded_bytes(folder), "without conversion"


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
