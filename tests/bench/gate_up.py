"""Gate and up projections of routed experts: two products, or one of twice the width?

    python tests/bench/gate_up.py [--hidden 1024] [--width 512] [--experts 32] [--chosen 6]

Prints median milliseconds for 1 token and for many, 4-bit weights, and the ratio.
"""

import argparse
import statistics
import time

import mlx.core as mx
from mlx_lm.models.activations import swiglu


def median_ms(compute, repeats: int) -> float:
    mx.eval(compute())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        mx.eval(compute())
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("hidden", 1024), ("width", 512), ("experts", 32), ("chosen", 6)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    gate, up = mx.random.normal((2, args.experts, args.width, args.hidden))
    both = mx.quantize(mx.concatenate([gate, up], axis=1), 64, 4)
    gate, up = mx.quantize(gate, 64, 4), mx.quantize(up, 64, 4)

    for tokens in (1, 64):
        pairs = tokens * args.chosen
        experts = mx.sort(mx.random.randint(0, args.experts, (pairs,))).astype(mx.uint32)
        x = mx.random.normal((pairs, 1, args.hidden))
        mx.eval(gate, up, both, experts, x)

        def product(weights, x=x, experts=experts):
            return mx.gather_qmm(
                x, *weights, rhs_indices=experts, transpose=True, sorted_indices=True
            )

        apart = median_ms(lambda: swiglu(product(gate), product(up)), 9)
        fused = median_ms(lambda: swiglu(*mx.split(product(both), 2, axis=-1)), 9)
        print(
            f"{tokens:>4} tokens: apart {apart:8.2f} ms, fused {fused:8.2f} ms, "
            f"apart / fused {apart / fused:.2f}"
        )


if __name__ == "__main__":
    main()
