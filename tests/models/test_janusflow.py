"""JanusFlow and SDXL's VAE against the official code: understanding, velocities, pixels."""

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_deepseek import models
from mlx_deepseek.checkpoint.load_weights import load_source
from mlx_deepseek.errors import ConfigError
from mlx_deepseek.image_generation.flow import GuidedFlow, guided_velocity
from mlx_deepseek.vision.decoders.autoencoder import as_picture
from mlx_deepseek.vision.tiling.plan import Pixels
from tests.models.test_parity import LIMIT, relative

CASE = "janusflow"
BEGIN, IMAGE_TOKEN, PAD = 296, 298, 299
GUIDANCE, STEPS = 2.0, 4


@pytest.fixture(scope="module")
def model(goldens_root) -> Any:
    return load_source(goldens_root / CASE, mx.float32)[0]


@pytest.fixture(scope="module")
def vae(goldens_root) -> Any:
    return load_source(goldens_root / CASE / "vae", mx.float32)[0]


@pytest.fixture(scope="module")
def golden(goldens):
    return goldens(CASE)


def first(x: mx.array) -> mx.array:
    """Channels first, as the goldens have them."""
    return x.transpose(0, 3, 1, 2)


def test_understanding(model, golden):
    pixels, ids = golden["und.pixel_values"].transpose(0, 2, 3, 1), golden["und.input_ids"]
    (plan,) = model.reader.plan([(100, 100)])
    assert relative(model.vision(pixels), golden["und.vision_features"]) <= LIMIT
    features = model.see(Pixels(pixels), plan)
    assert features.shape[0] == plan.slots
    assert relative(features[None], golden["und.image_embeds_with_beg"]) <= LIMIT
    words, slots = np.array(model.embed(ids)), np.isin(np.array(ids), [BEGIN, IMAGE_TOKEN])
    words[slots] = np.array(features)
    assert relative(mx.array(words), golden["und.inputs_embeds"]) <= LIMIT
    cache = model.make_cache()
    logits = model(ids, cache=cache, input_embeddings=mx.array(words))
    assert relative(logits, golden["und.logits"]) <= LIMIT
    logits = logits[:, -1]
    for step in range(golden["und.gen_ids"].shape[1]):
        assert relative(logits, golden["und.gen_logits"][:, step]) <= LIMIT
        logits = model(golden["und.gen_ids"][:, step : step + 1], cache=cache)[:, -1]


@pytest.mark.parametrize("step", [0, 2])
def test_flow_encoder(model, golden, step):
    latents = golden[f"flow.step{step}.z_in"].transpose(0, 2, 3, 1)
    times = mx.full((2,), 1000.0 * step / STEPS)
    encoded, time = model.flow_encoder(mx.concatenate([latents, latents]), times)
    assert relative(first(encoded), golden[f"flow.step{step}.enc"]) <= LIMIT
    assert relative(time, golden[f"flow.step{step}.t_emb"]) <= LIMIT


def test_velocities_and_the_last_latents(model, golden):
    """Behind a prompt that is read once; the original reads it before every step."""
    field = GuidedFlow(model, golden["flow.prompt_ids"][0].tolist(), PAD, 1)
    latents = golden["flow.z0"].transpose(0, 2, 3, 1)
    for step in range(STEPS):
        velocities = field(latents, step / STEPS)
        velocity = guided_velocity(velocities, GUIDANCE)
        if f"flow.step{step}.v_cfg" in golden:
            assert relative(first(latents), golden[f"flow.step{step}.z_in"]) <= LIMIT
            expected = golden[f"flow.step{step}.v_cond_uncond"]
            assert relative(first(velocities), expected) <= LIMIT
            assert relative(first(velocity), golden[f"flow.step{step}.v_cfg"]) <= LIMIT
        latents = latents + velocity / STEPS
    assert relative(first(latents), golden["flow.z_final"]) <= LIMIT


def test_what_unconditional_rows_see(model, golden):
    """Nothing of the prompt but its first token: the mask that the original passes."""
    prompt = golden["flow.prompt_ids"][0].tolist()
    field = GuidedFlow(model, prompt, PAD, 1)
    mask = field.cache[0].make_mask(golden["flow.attention_mask"].shape[1] - len(prompt) + 1)
    assert mx.array_equal(mask[:, 0, -1], golden["flow.attention_mask"].astype(mx.bool_))


def test_vae(vae, golden):
    latents = golden["vae.rand_latent"].transpose(0, 2, 3, 1) * vae.scale
    assert relative(first(vae(latents)), golden["vae.rand_decoded"]) <= LIMIT
    pixels = vae(golden["flow.z_final"].transpose(0, 2, 3, 1))
    assert relative(first(pixels), golden["vae.decoded_from_z_final"]) <= LIMIT
    drawn = np.asarray(as_picture(pixels[0])).astype(int)
    expected = np.array(golden["vae.uint8"][0]).astype(int)
    assert np.abs(drawn - expected).max() <= 1
    assert (drawn != expected).mean() < 1e-3


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("vision_gen_enc_config", "kernel_size", 7),
        ("vision_gen_enc_config", "use_mid_block", False),
        ("vision_gen_dec_config", "upsamples", 2),
        ("vision_gen_dec_config", "unheard_of", 1),
    ],
)
def test_what_is_not_computed_is_refused(golden_config, part, key, value):
    config = golden_config(CASE)
    config[part]["params"][key] = value
    with pytest.raises(ConfigError, match=key):
        models.build(config)


@pytest.mark.parametrize(
    ("key", "value"),
    [("act_fn", "gelu"), ("mid_block_add_attention", False), ("latent_channels", None)],
)
def test_another_vae_is_refused(golden_config, key, value):
    config = golden_config(f"{CASE}/vae")
    with pytest.raises(ConfigError, match=key):
        models.build({**config, key: value})
