"""Compiled, as on GPUs, models compute the same; other tests of them have a CPU not compile."""

import mlx.core as mx
import pytest
from mlx_lm.models.cache import make_prompt_cache

from mlx_deepseek.checkpoint.load_weights import load_source
from tests.models.test_parity import LIMIT, relative


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize(("case", "alone"), [("deepseek_v3", 1), ("deepseek_v41", 0)])
def test_a_compiled_model_gives_the_references_logits(case, alone, goldens_root, goldens):
    """Of a prompt, but for so many last tokens, and of these."""
    golden, model = goldens(case), load_source(goldens_root / case, mx.float32)[0]
    ids, cache = golden["input_ids"], make_prompt_cache(model)
    cut = ids.shape[1] - alone
    for part in (slice(0, cut), slice(cut, None))[: 1 + alone]:
        logits = model(ids[:, part], cache=cache)
        assert relative(logits, golden["logits"][:, part]) <= LIMIT
