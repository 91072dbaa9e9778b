"""What `info` expects of a model's speed, from sizes and speeds that are measured or given."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_deepseek.errors import ConfigError

if TYPE_CHECKING:
    from mlx_deepseek.models.expert_memory import ModelMemory
    from mlx_deepseek.models.forecast import Speeds

GIVEN_ITEM_BYTES = 2  # of a number on a machine with a GPU


def add_machine(parser: argparse.ArgumentParser) -> None:
    """The machine that a forecast is for; what is not given is this one's, measured."""
    group = parser.add_argument_group("forecast", "what is left out is measured here")
    group.add_argument("--memory", metavar="SIZE", help="what a model may take, as 64GB")
    group.add_argument("--disk", metavar="SPEED", help="of reading, as 6GB/s")
    group.add_argument("--bandwidth", metavar="SPEED", help="of memory, as 400GB/s")


def expect(
    model: Any,
    config: Mapping[str, Any],
    folder: Path | None,
    *,
    memory: str | None = None,
    disk: str | None = None,
    bandwidth: str | None = None,
) -> dict[str, Any] | None:
    """Speeds to expect of a built model, its MLX checkpoint in `folder` or nowhere yet.

    None where nothing is asked and all of it fits, or its experts cannot stay on disk.

    Raises:
        ConfigError: a value is no size or speed, or the disk's speed is not known.
    """
    from mlx_deepseek.checkpoint.room import limit_bytes
    from mlx_deepseek.models.expert_memory import capacities
    from mlx_deepseek.models.forecast import forecast
    from mlx_deepseek.runtime.memory import fits, machine_memory_bytes

    here = bandwidth is None and memory is None
    item_bytes = None if bandwidth is None else GIVEN_ITEM_BYTES
    found, context_bytes = sizes(model, config, folder, item_bytes)
    allowed = limit_bytes(memory) if memory else machine_memory_bytes()
    usable = fits(0, 1, allowed, 1).usable_bytes
    chosen = capacities(found, usable if found.nbytes <= usable else usable - context_bytes)
    if not found.layers or (here and disk is None and (not chosen or folder is None)):
        return None
    facts: dict[str, Any] = {
        "memory_bytes": allowed,
        "least_memory_bytes": int((found.least_bytes + context_bytes) * allowed / usable),
        "fits": chosen is not None,
    }
    if chosen is None:
        return facts
    speeds, basis = measured(folder, disk, bandwidth, needs_disk=bool(chosen))
    expected = forecast(found, chosen, speeds)
    return facts | {
        "experts_in_memory": expected.share,
        "hit_rate": expected.hit_rate,
        "disk_bytes_per_token": expected.disk_bytes_per_token,
        "decode_tps": expected.decode_tps,
        "prefill_tps": expected.prefill_tps if chosen or speeds.prompt else None,
        "memory_bytes_per_s": speeds.memory,
        "disk_bytes_per_s": speeds.disk if chosen else None,
        "basis": basis,
    }


def sizes(
    model: Any, config: Mapping[str, Any], folder: Path | None, item_bytes: int | None
) -> "tuple[ModelMemory, int]":
    """A model's bytes by its files' headers, or as the default recipe would store it."""
    from mlx_deepseek.checkpoint.converter import DEFAULT_RECIPE, converter
    from mlx_deepseek.checkpoint.room import model_memory
    from mlx_deepseek.models.expert_memory import CONTEXT_TOKENS, memory_of
    from mlx_deepseek.models.sizes import cache_bytes_per_token

    if folder is not None and not converter().open(folder).is_release:
        return model_memory(folder, item_bytes)
    stored = converter().stored_bytes(model, DEFAULT_RECIPE)
    return memory_of(model, stored), cache_bytes_per_token(model, config) * CONTEXT_TOKENS


def measured(
    folder: Path | None, disk: str | None, bandwidth: str | None, *, needs_disk: bool
) -> "tuple[Speeds, str]":
    """A machine's speeds, and how they are known."""
    from mlx_deepseek.checkpoint.files import weight_files
    from mlx_deepseek.models.forecast import Speeds
    from mlx_deepseek.runtime.speed import disk_bytes_per_s, product_bytes_per_s

    if needs_disk and disk is None and folder is None:
        raise ConfigError(
            "The disk's speed is not known: the model is not on this machine. Give it with --disk, "
            "as 6GB/s."
        )
    given = disk and speed(disk)  # before anything is measured, as it may be wrong
    prompt = None
    if bandwidth is None:
        memory, prompt = product_bytes_per_s(), product_bytes_per_s(rows=64)
        basis = ["products of 4-bit matrices measured here"]
    else:
        memory, basis = speed(bandwidth), ["memory bandwidth as given"]
    if given:
        basis.append("disk as given")
    elif needs_disk and folder is not None:
        basis.append("random reads of the model's files measured for a second")
        given = disk_bytes_per_s(weight_files(folder))
    return Speeds(memory, given or 1.0, prompt), ", ".join(basis)


def speed(text: str) -> float:
    """Bytes per second of "6GB/s".

    Raises:
        ConfigError: it is no speed.
    """
    from mlx_deepseek.runtime.units import parse_size

    return float(parse_size(text.strip().removesuffix("/s")))


def forecast_rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Labels and values for a reader."""
    from mlx_deepseek.runtime.units import in_words

    title = f"with {in_words(facts['memory_bytes'])} of memory"
    if not facts["fits"]:
        least = in_words(facts["least_memory_bytes"])
        return [(title, f"does not fit, even with experts on disk: that takes {least}")]
    found = [
        (title, f"{facts['experts_in_memory']:.0%} of the routed experts in memory"),
        ("tokens per second", f"{between(*facts['decode_tps'])} (forecast)"),
    ]
    if facts["disk_bytes_per_s"]:
        most, least = map(in_words, facts["disk_bytes_per_token"])
        (low, high), disk = facts["hit_rate"], in_words(facts["disk_bytes_per_s"])
        found += [
            ("found in memory", f"{low:.0%} (choices alike) to {high:.0%} (as Zipf's law)"),
            ("read from disk", f"{most} to {least} per token, at {disk}/s"),
        ]
    if facts["prefill_tps"]:
        found.append(("prompt", f"at most {facts['prefill_tps']:,.1f} tokens per second"))
    return [*found, ("forecast from", facts["basis"])]


def between(low: float, high: float) -> str:
    """Two numbers, or one if they are alike."""
    return f"{low:,.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:,.2f} to {high:,.2f}"
