"""What converting the largest checkpoints will take, from headers computed from their configs.

    python tests/bench/convert_plans.py [NAME ...]

Prints, for each name in the catalog (default: DeepSeek-V3 and DeepSeek-V3.2) and each recipe, the
seconds that planning takes and the predicted bytes, disk with shards from the hub, and memory.
"""

import argparse
import time
from dataclasses import replace

from mlx_deepseek import catalog
from mlx_deepseek.errors import ConfigError
from mlx_deepseek_convert.planning.plan import make_plan
from mlx_deepseek_convert.planning.recipes import RECIPES
from mlx_deepseek_convert.source.checkpoint import Remote, Source
from mlx_deepseek_convert.write.preflight import predicted
from tests.convert.released import released_source

SHARD_BYTES = 4_300_000_000  # of DeepSeek's releases


def from_hub(source: Source) -> Source:
    """The same as if it were on the hub, in shards of the usual size."""
    nbytes = sum(tensor.nbytes for tensor in source.tensors.values())
    sizes = {f"model-{shard}.safetensors": SHARD_BYTES for shard in range(nbytes // SHARD_BYTES)}
    return replace(source, remote=Remote("deepseek-ai/any", "main", sizes, {}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=["DeepSeek-V3", "DeepSeek-V3.2"])
    for name in parser.parse_args().names:
        entry = catalog.find(f"deepseek-ai/{name}")
        if entry is None:
            print(f"{name}: not in the catalog")
            continue
        source = from_hub(released_source(dict(entry.config)))
        nbytes = sum(tensor.nbytes for tensor in source.tensors.values())
        print(f"\n{name}: {source.stored:,} tensors, {nbytes / 1e9:.2f} GB in")
        print("recipe   plan s   output GB   bits   disk GB   memory GB   exact codes")
        for recipe in RECIPES:
            began = time.perf_counter()
            try:
                plan = make_plan(source, recipe)
            except ConfigError as error:
                print(error)
                break
            took = predicted(plan)
            seconds = time.perf_counter() - began
            print(
                f"{recipe:8} {seconds:6.2f} {plan.bytes_out / 1e9:11.2f} "
                f"{plan.bits_per_weight:6.2f} {took['disk_bytes'] / 1e9:9.2f} "
                f"{took['peak_bytes'] / 1e9:11.2f} "
                f"{plan.exact_parameters / plan.parameters:13.1%}"
            )


if __name__ == "__main__":
    main()
