"""Janus and Janus-Pro against the official code: understanding, VQ-16, codes with guidance."""

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_deepseek import catalog, models
from mlx_deepseek.checkpoint.load_weights import load_source
from mlx_deepseek.errors import ConfigError
from mlx_deepseek.image_generation.codes import GuidedDecoder, draw_codes, guided, unconditional
from mlx_deepseek.vision.decoders.autoencoder import as_picture
from mlx_deepseek.vision.image_file import open_picture
from mlx_deepseek.vision.tiling.plan import Pixels
from tests.models.test_parity import LIMIT, relative

CASES = ("janus", "janus_pro")
IMAGE_TOKEN, PAD = 298, 299
GUIDANCE = 5.0


@pytest.fixture(scope="module", params=CASES)
def case(request, goldens_root, goldens) -> Any:
    name = request.param
    return load_source(goldens_root / name, mx.float32)[0], goldens(name)


def pixels(golden: Any, number: int) -> mx.array:
    return golden[f"und.pixel_values.{number}"].transpose(0, 2, 3, 1)


def embedded(case, prompt: str, pictures: int) -> mx.array:
    """A prompt's embeddings, with the pictures' features in their places."""
    model, golden = case
    ids = golden[f"{prompt}.input_ids"]
    (plan,) = model.reader.plan([(100, 100)])
    features = [model.see(Pixels(pixels(golden, i)), plan) for i in range(pictures)]
    words = np.array(model.embed(ids))
    words[np.array(ids) == IMAGE_TOKEN] = np.array(mx.concatenate(features))
    return mx.array(words)


def test_features(case):
    model, golden = case
    for number in range(2):
        features = model.vision(pixels(golden, number))
        assert relative(features, golden["und2.image_features"][number : number + 1]) <= LIMIT
        aligned = model.encode(pixels(golden, number))
        assert relative(aligned, golden["und2.aligned"][number : number + 1]) <= LIMIT


@pytest.mark.parametrize(("prompt", "pictures"), [("und1", 1), ("und2", 2)])
def test_understanding(case, prompt, pictures):
    model, golden = case
    embeddings = embedded(case, prompt, pictures)
    assert relative(embeddings, golden[f"{prompt}.inputs_embeds"]) <= LIMIT
    cache = model.make_cache()
    logits = model(golden[f"{prompt}.input_ids"], cache=cache, input_embeddings=embeddings)
    assert relative(logits, golden[f"{prompt}.logits"]) <= LIMIT
    logits = logits[:, -1]
    for step in range(golden[f"{prompt}.gen_ids"].shape[1]):
        assert relative(logits, golden[f"{prompt}.gen_logits"][:, step]) <= LIMIT
        logits = model(golden[f"{prompt}.gen_ids"][:, step : step + 1], cache=cache)[:, -1]


def test_text_alone(case):
    model, golden = case
    for prompt in ("text.", "text.batch2_"):
        assert relative(model(golden[f"{prompt}input_ids"]), golden[f"{prompt}logits"]) <= LIMIT


def test_the_unconditional_row(case):
    _, golden = case
    rows = golden["gen.tokens"].tolist()
    assert unconditional(rows[0], PAD) == rows[1]


def test_logits_of_each_code(case):
    """Conditional, unconditional and guided ones, behind the original's own codes."""
    model, golden = case
    decoder = GuidedDecoder(model, golden["gen.prompt_ids"][0].tolist(), PAD, 1)
    codes = golden["gen.codes"]
    for place, expected in enumerate(golden["gen.step_logits_cond_uncond_cfg"]):
        logits = decoder.logits()
        chosen = guided(logits, GUIDANCE)
        assert relative(mx.concatenate([logits, chosen]), expected) <= LIMIT
        assert int(chosen.argmax()) == int(codes[0, place])
        decoder.feed(codes[:, place])


def test_a_picture_from_its_prompt(case):
    """The likeliest codes, decoded, byte for byte but where rounding meets the truncation."""
    model, golden = case
    prompt = golden["gen.prompt_ids"][0].tolist()
    *_, last = draw_codes(model, prompt, PAD, [0], guidance=GUIDANCE, temperature=0.0)
    drawn = np.asarray(as_picture(last.pixels(0))).astype(int)
    expected = np.array(golden["vq.uint8"][0]).astype(int)
    assert np.abs(drawn - expected).max() <= 1
    assert (drawn != expected).mean() < 1e-3


def test_vq_decoding(case):
    model, golden = case
    decoded = model.vq.decode(golden["vq.rand_codes"]).transpose(0, 3, 1, 2)
    assert relative(decoded, golden["vq.rand_decoded"]) <= LIMIT


def test_vq_encoding(case):
    model, golden = case
    codes = model.vq.encode(golden["vq.enc_in"].transpose(0, 2, 3, 1))
    assert mx.array_equal(codes.flatten(), golden["vq.enc_codes"])
    vectors = model.vq.vectors(codes).transpose(0, 3, 1, 2)
    assert relative(vectors, golden["vq.enc_quant"]) <= LIMIT


@pytest.mark.parametrize("number", [0, 1])
def test_preprocessing_is_the_originals_bit_by_bit(goldens, goldens_root, number):
    entry = catalog.find("deepseek-ai/Janus-Pro-1B")
    assert entry is not None
    reader: Any = models.build(entry.config).reader
    picture = open_picture(goldens_root / "_images" / f"real{number}.webp")
    (plan,) = reader.plan([picture.size])
    view = reader.pixels(picture, plan).view[0].transpose(2, 0, 1)
    expected = goldens("janus")[f"pre{number}.pixel_values_sub8"]
    assert np.array_equal(view[:, 3::8, 5::8], expected)


@pytest.mark.parametrize(
    ("part", "key"), [("gen_vision_config", "codebook_l2_norm"), ("gen_head_config", "bias")]
)
def test_unknown_keys_are_refused_not_ignored(golden_config, part, key):
    config = golden_config("janus")
    config[part]["params"][key] = False
    with pytest.raises(ConfigError, match=key):
        models.build(config)


def test_another_tokenizer_of_pictures_is_refused(golden_config):
    config = golden_config("janus")
    config["gen_vision_config"]["cls"] = "VQ-8"
    with pytest.raises(ConfigError, match="VQ-8"):
        models.build(config)
