"""A token's choice of experts as one kernel on a GPU, in place of nine in every layer.

A group of threads for each token, a thread for each expert, which counts how many experts come
before its own.
"""

from functools import cache

import mlx.core as mx

from mlx_deepseek.layers.gpu_kernel import build, trusted
from mlx_deepseek.layers.routing import SCORES, Choosing, RouterConfig, by_operations

# The body of a function that has `logits` [N, E], `bias` [E], `chosen` and `weights` [N, K].
# Experts before one's own are those that rank higher, or as high with a lower number.
BODY = """
    uint token = GPU_GROUP, expert = GPU_THREAD;
    GPU_SHARED float scores[E];
    GPU_SHARED float ranking[E];
    GPU_SHARED float best[GROUPS];
    GPU_SHARED uint found[K];
    float logit = logits[token * E + expert], score;
    ranking[expert] = logit;
    if (expert < K) found[expert] = expert;
    GPU_WAIT;
    if (SCORING == 0) {
        float highest = ranking[0], sum = 0;
        for (int i = 1; i < E; i++) highest = ranking[i] > highest ? ranking[i] : highest;
        for (int i = 0; i < E; i++) sum += GPU_EXP(ranking[i] - highest);
        score = GPU_EXP(logit - highest) / sum;
    } else if (SCORING == 1) {
        float small = GPU_EXP(logit < 0 ? logit : -logit);
        score = (logit < 0 ? small : 1) / (1 + small);
    } else {
        float small = GPU_EXP(logit < 0 ? logit : -logit);
        float rest = small < 1e-4f ? small * (1 - 0.5f * small) : GPU_LOG(1 + small);
        score = sqrt((logit > 0 ? logit : 0) + rest);
    }
    GPU_WAIT;
    scores[expert] = score;
    ranking[expert] = score + (BIASED ? bias[expert] : 0);
    GPU_WAIT;
    if (KEPT < GROUPS) {
        const int size = E / GROUPS;
        if (expert < GROUPS) {
            float first = -INFINITY, second = -INFINITY;
            for (int i = 0; i < size; i++) {
                float one = ranking[expert * size + i];
                second = one > first ? first : (one > second ? one : second);
                first = one > first ? one : first;
            }
            best[expert] = PAIRS ? first + second : first;
        }
        GPU_WAIT;
        int group = expert / size, before = 0;
        for (int i = 0; i < GROUPS; i++)
            before += best[i] > best[group] || (best[i] == best[group] && i < group);
        if (before >= KEPT) ranking[expert] = -INFINITY;
        GPU_WAIT;
    }
    uint before = 0;
    for (uint i = 0; i < E; i++)
        before += ranking[i] > ranking[expert] || (ranking[i] == ranking[expert] && i < expert);
    if (before < K) found[before] = expert;
    GPU_WAIT;
    if (expert < K) {
        float total = NORMALISE ? 1e-20f : 1;
        for (int i = 0; i < K && NORMALISE; i++) total += scores[found[i]];
        chosen[token * K + expert] = found[expert];
        weights[token * K + expert] = T(scores[found[expert]] / total * SCALE);
    }
"""
MOST_THREADS = 1024
TOLERANCE = 1e-2  # of the largest weight; what is chosen must be the same


@cache
def kernel(config: RouterConfig, biased: bool, dtype: mx.Dtype) -> Choosing | None:
    """One kernel for a router, if this GPU builds it and it is right."""
    keys = mx.random.split(mx.random.key(0), 2)
    logits = 4 * mx.random.normal((65, config.experts), key=keys[0])
    bias = mx.random.normal((config.experts,), key=keys[1]) if biased else None

    def is_right(fused: Choosing) -> bool:
        (found, weights), (chosen, expected) = fused(logits, bias), choose(logits, bias)
        ours, theirs = mx.argsort(found, axis=-1), mx.argsort(chosen, axis=-1)
        pairs = [(found, chosen), (weights.astype(mx.float32), expected.astype(mx.float32))]
        same, close = (
            (mx.take_along_axis(a, ours, -1), mx.take_along_axis(b, theirs, -1)) for a, b in pairs
        )
        near = mx.abs(close[0] - close[1]).max() <= TOLERANCE * close[1].max()
        return bool(mx.array_equal(*same)) and bool(near)

    choose = by_operations(config, dtype)
    return trusted(lambda: built(config, biased, dtype), is_right)


def built(config: RouterConfig, biased: bool, dtype: mx.Dtype) -> Choosing:
    """The kernel of a router.

    Raises:
        RuntimeError, ValueError: as `gpu_kernel.build`, or there are more experts than threads.
    """
    if config.experts > MOST_THREADS:
        raise ValueError(f"{config.experts} experts")
    run = build("router", ["logits", "bias"], ["chosen", "weights"], body_of(config.scale))

    def fused(logits: mx.array, bias: mx.array | None) -> tuple[mx.array, mx.array]:
        shape = (*logits.shape[:-1], config.per_token)
        tokens = logits.size // config.experts
        chosen, weights = run(
            inputs=[logits, logits if bias is None else bias.astype(mx.float32)],
            template=[("T", dtype), *settings(config, biased).items()],
            grid=(tokens * config.experts, 1, 1),
            threadgroup=(config.experts, 1, 1),
            output_shapes=[shape, shape],
            output_dtypes=[mx.uint32, dtype],
        )
        return chosen, weights

    return fused


def settings(config: RouterConfig, biased: bool) -> dict[str, int]:
    """What the body is told of a router."""
    limited = config.method != "greedy"
    return {
        "E": config.experts,
        "K": config.per_token,
        "GROUPS": config.groups if limited else 1,
        "KEPT": config.groups_kept if limited else 1,
        "PAIRS": int(config.method == "noaux_tc"),
        "SCORING": list(SCORES).index(config.scoring),
        "NORMALISE": int(config.normalise),
        "BIASED": int(biased),
    }


def body_of(scale: float) -> str:
    """The body for one `scale`."""
    return BODY.replace("SCALE", f"{scale:.9e}f")
