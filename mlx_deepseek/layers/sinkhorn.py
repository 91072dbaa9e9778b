"""Sinkhorn's iteration: positive matrices made nearly doubly stochastic (arXiv:2512.24880).

Each round divides rows by their sums, then columns; the first one columns only. As operations of
MLX that is four kernels a round, twice in each layer. On a GPU one kernel of ours does all rounds,
a thread for each matrix.
"""

from collections.abc import Callable
from functools import cache

import mlx.core as mx

from mlx_deepseek.layers.gpu_kernel import build, trusted
from mlx_deepseek.runtime.device import on_gpu

# The body of a function that has `comb` [N, M * M] and `out`.
BODY = """
    uint matrix = GPU_INDEX;
    if (matrix >= uint(comb_shape[0])) return;
    float a[M * M];
    for (int i = 0; i < M * M; i++) a[i] = comb[matrix * M * M + i];
    for (int done = 0; done < ROUNDS; done++) {
        for (int row = 0; row < M && done > 0; row++) {
            float sum = 0;
            for (int i = 0; i < M; i++) sum += a[row * M + i];
            for (int i = 0; i < M; i++) a[row * M + i] /= sum + EPS;
        }
        for (int column = 0; column < M; column++) {
            float sum = 0;
            for (int i = 0; i < M; i++) sum += a[i * M + column];
            for (int i = 0; i < M; i++) a[i * M + column] /= sum + EPS;
        }
    }
    for (int i = 0; i < M * M; i++) out[matrix * M * M + i] = a[i];
"""
THREADS = 64
TOLERANCE = 1e-5
Balancing = Callable[[mx.array], mx.array]


def sinkhorn(comb: mx.array, rounds: int, eps: float, *, training: bool = False) -> mx.array:
    """Positive float32 matrices [..., M, M] balanced by so many `rounds`.

    `training`: gradients are wanted, which the kernel has none of.
    """
    fused = None if training or not on_gpu() else kernel(comb.shape[-1], rounds, eps)
    return by_operations(comb, rounds, eps) if fused is None else fused(comb)


def by_operations(comb: mx.array, rounds: int, eps: float) -> mx.array:
    """The same, as MLX has it."""
    comb = comb / (comb.sum(-2, keepdims=True) + eps)
    for _ in range(rounds - 1):
        comb = balance(comb, eps)
    return comb


@mx.compile
def balance(comb: mx.array, eps: float) -> mx.array:
    """One round: rows, then columns, divided by their sums."""
    comb = comb / (comb.sum(-1, keepdims=True) + eps)
    return comb / (comb.sum(-2, keepdims=True) + eps)


@cache
def kernel(size: int, rounds: int, eps: float) -> Balancing | None:
    """One kernel for matrices of `size`, if this GPU builds it and it is right."""
    example = mx.random.uniform(0.1, 5.0, (THREADS + 1, size, size), key=mx.random.key(0))

    def is_right(fused: Balancing) -> bool:
        found, expected = fused(example), by_operations(example, rounds, eps)
        return bool(mx.allclose(found, expected, rtol=0, atol=TOLERANCE))

    return trusted(lambda: built(size, rounds, eps), is_right)


def built(size: int, rounds: int, eps: float) -> Balancing:
    """The kernel as a function of matrices [..., M, M].

    Raises:
        RuntimeError, ValueError: as `gpu_kernel.build`.
    """
    run = build("sinkhorn", ["comb"], ["out"], body_of(eps))

    def fused(comb: mx.array) -> mx.array:
        flat = comb.reshape(-1, size * size)
        (out,) = run(
            inputs=[flat],
            template=[("M", size), ("ROUNDS", rounds)],
            grid=(flat.shape[0], 1, 1),
            threadgroup=(min(THREADS, flat.shape[0]), 1, 1),
            output_shapes=[flat.shape],
            output_dtypes=[mx.float32],
        )
        return out.reshape(comb.shape)

    return fused


def body_of(eps: float) -> str:
    """The body for one `eps`."""
    return BODY.replace("EPS", f"{eps:.9e}f")
