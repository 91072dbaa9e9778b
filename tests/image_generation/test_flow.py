"""JanusFlow's kept prompt gives what reading it again at every step gives."""

import mlx.core as mx
import pytest

from mlx_deepseek.image_generation.flow import GuidedFlow
from tests.image_generation.conftest import PAD


def recomputed(model, prompt, latents, time) -> mx.array:
    """Velocities as the original computes them: the whole sequence, with a mask, without a cache.

    Rows are conditional ones, then unconditional ones.
    """
    words = prompt[:-1]
    n, P = latents.shape[0], len(words)
    rows = [words] * n + [[words[0], *[PAD] * (P - 1)]] * n
    encoded, times = model.flow_encoder(
        mx.concatenate([latents, latents]), mx.full((2 * n,), time * 1000.0)
    )
    seen = mx.concatenate([times[:, None], model.flow_in(encoded.flatten(1, 2))], axis=1)
    x = mx.concatenate([model.embed(mx.array(rows)), seen], axis=1)
    L = x.shape[1]
    shown = mx.ones((2 * n, L), dtype=mx.bool_)
    shown[n:, 1:P] = False
    mask = mx.tril(mx.ones((L, L), dtype=mx.bool_)) & shown[:, None, None]
    for layer in model.language.layers:
        x = layer(x, mask)
    hidden = model.language.model.norm(x)[:, P + 1 :]
    hidden = model.flow_out(model.flow_norm(hidden)).reshape(encoded.shape)
    return model.flow_decoder(hidden, encoded, times)


@pytest.mark.parametrize("n", [1, 3])
def test_a_kept_prompt_is_as_good_as_one_read_again(goldens, janusflow, n):
    prompt = goldens("janusflow")["flow.prompt_ids"][0].tolist()
    field = GuidedFlow(janusflow, prompt, PAD, n)
    latents = mx.random.normal((n, 8, 8, 4), key=mx.random.key(n))
    for time in (0.0, 0.3, 0.9):
        expected = recomputed(janusflow, prompt, latents, time)
        assert float(mx.abs(field(latents, time) - expected).max()) < 1e-4
    assert field.cache[0].keys.shape[0] == 2  # once for each prompt, not for each picture
