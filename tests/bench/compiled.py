"""What `mx.compile` gains on a CPU: the same model with it and without, in turns.

    python tests/bench/compiled.py [--rounds 7] [--shape v2]

Prints the medians of CPU seconds without over with, of decoding and of reading 64 tokens, for nano
and a random 4-bit model shaped like V2 or V3; above 1, compiling gains. What MLX has compiled for
a CPU stays in the folder of temporary files, so the first run of a machine is longer.
"""

import argparse
import statistics
import time
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from against_mlx_lm import SHAPES
from mlx_lm.models.cache import make_prompt_cache

from mlx_deepseek import load, models
from mlx_deepseek.runtime.cpu import parallelise

TOKENS = {1: 12, 64: 2}  # steps of so many tokens each


def shaped(shape: str) -> nn.Module:
    """A random 4-bit model of four layers."""
    model = models.build({**SHAPES[shape], "num_hidden_layers": 4})
    nn.quantize(model, group_size=64, bits=4)
    mx.eval(model.parameters())
    return parallelise(model)


def seconds(model: Any, width: int) -> float:
    """CPU seconds of a few steps of `width` tokens after 64."""
    cache = make_prompt_cache(model)
    mx.eval(model(mx.arange(64)[None] + 3, cache=cache))
    began = time.process_time()
    for _ in range(TOKENS[width]):
        mx.eval(model(mx.full((1, width), 5), cache=cache))
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--shape", choices=SHAPES, default="v2")
    args = parser.parse_args()
    for name, model in (("nano", load("nano").model), (args.shape, shaped(args.shape))):
        for width in TOKENS:
            ratios = []
            for _ in range(args.rounds + 1):
                mx.enable_compile()
                with_it = seconds(model, width)
                mx.disable_compile()
                ratios.append(seconds(model, width) / with_it)
            mx.enable_compile()
            median = statistics.median(ratios[1:])  # the first round compiles
            print(f"{name}, steps of {width}: without / with {median:.3f}")


if __name__ == "__main__":
    main()
