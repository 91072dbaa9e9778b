"""One step of decoding with drafts: draft, verify in one pass of the model, accept what agrees.

Before a step the model's caches hold all tokens but the last, the drafter's those that it was given
the features of. Both are trimmed to what is certain after it.
"""

import time
from typing import Any

import mlx.core as mx

from mlx_deepseek.cache.prompt_cache import common_prefix, trim
from mlx_deepseek.generation.drafting.drafter import Drafter
from mlx_deepseek.generation.row import DecodingRow


def draft_and_verify(model: Any, row: DecodingRow, depth: int) -> list[int]:
    """The next tokens of a row, one at least, by up to `depth` drafts; they are not noted yet."""
    drafter: Drafter = row.drafter  # type: ignore[assignment]
    cache, choose = row.cache, row.sampler
    began = time.perf_counter()
    features = mx.concatenate(row.features, axis=1)
    base, certain = cache.layers[0].offset, cache.drafts[0].offset + features.shape[1]
    drafts = drafter.draft(features, row.following(), depth, choose, cache.drafts)
    depth = len(drafts)
    trim(cache.drafts, certain)
    ids = mx.concatenate([row.pending, *drafts])[None]  # [1, 1 + depth]
    logits, features = drafter.forward(model, ids, cache.layers)
    chosen = choose(logits[0], drafts, depth)  # [1 + depth], the model's own
    verdict: Any = mx.concatenate([chosen, *drafts]).tolist()
    accepted = common_prefix(verdict[:depth], verdict[depth + 1 :])
    new = verdict[: accepted + 1]
    row.features = [features[:, : len(new)]]
    row.pending = mx.array(new[-1:])
    trim(cache.layers, base + len(new))
    row.watch.drafted += depth
    row.watch.accepted += accepted
    drafter.length.note(depth, accepted, time.perf_counter() - began)
    return new
