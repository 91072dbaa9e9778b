"""DeepSeek-VL against the official code: features, projection, logits, decode, preprocessing."""

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_deepseek import catalog, models
from mlx_deepseek.checkpoint.load_weights import load_source
from mlx_deepseek.errors import ConfigError
from mlx_deepseek.vision.image_file import open_picture
from mlx_deepseek.vision.tiling.plan import Pixels
from tests.models.test_parity import LIMIT, relative

CASES = ("deepseek_vl_1p3b", "deepseek_vl_7b")
RELEASES = {"deepseek_vl_1p3b": "deepseek-vl-1.3b-chat", "deepseek_vl_7b": "deepseek-vl-7b-chat"}
STRIDES = {"deepseek_vl_1p3b": 8, "deepseek_vl_7b": 16}
IMAGE_TOKEN = 298


@pytest.fixture(scope="module", params=CASES)
def case(request, goldens_root, goldens) -> Any:
    name = request.param
    return load_source(goldens_root / name, mx.float32)[0], goldens(name)


def pixels(golden: Any, number: int) -> Pixels:
    """A stored picture as the model takes it: normalised, or bytes / 255."""
    stored = golden.get(f"pixel_values.{number}")
    if stored is None:
        stored = golden[f"pixel_u8.{number}"].astype(mx.float32) / 255
    return Pixels(stored.transpose(0, 2, 3, 1))


@pytest.fixture
def embeddings(case) -> mx.array:
    """The first prompt's, with the picture's features in their places."""
    model, golden = case
    ids = golden["und1.input_ids"]
    (plan,) = model.reader.plan([(100, 100)])
    words = np.array(model.embed(ids))
    words[np.array(ids) == IMAGE_TOKEN] = np.array(model.see(pixels(golden, 0), plan))
    assert plan.slots == int((ids == IMAGE_TOKEN).sum())
    return mx.array(words)


def test_projected_features(case):
    model, golden = case
    assert relative(model.encode(pixels(golden, 0).view), golden["und1.aligned"]) <= LIMIT


def test_encoder(case):
    model, golden = case
    found = model.vision(pixels(golden, 0).view)
    names = ("image_features",) if isinstance(found, mx.array) else ("high", "low")
    for name, features in zip(names, (found,) if len(names) == 1 else found, strict=True):
        key = f"und1.{name}" if len(names) == 1 else f"und1.{name}_features"
        assert relative(features, golden[key]) <= LIMIT


def test_prefill(case, embeddings):
    model, golden = case
    assert relative(embeddings, golden["und1.inputs_embeds"]) <= LIMIT
    logits = model(golden["und1.input_ids"], input_embeddings=embeddings)
    assert relative(logits, golden["und1.logits"]) <= LIMIT


def test_each_decode_step(case, embeddings):
    model, golden = case
    cache = model.make_cache()
    logits = model(golden["und1.input_ids"], cache=cache, input_embeddings=embeddings)[:, -1]
    for step in range(golden["und1.gen_ids"].shape[1]):
        assert relative(logits, golden["und1.gen_logits"][:, step]) <= LIMIT
        logits = model(golden["und1.gen_ids"][:, step : step + 1], cache=cache)[:, -1]


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("name", CASES)
def test_preprocessing_is_the_originals_bit_by_bit(goldens, goldens_root, name, number):
    entry = catalog.find(f"deepseek-ai/{RELEASES[name]}")
    assert entry is not None
    reader: Any = models.build(entry.config).reader
    picture = open_picture(goldens_root / "_images" / f"real{number}.webp")
    (plan,) = reader.plan([picture.size])
    assert plan.slots == 576
    view = reader.pixels(picture, plan).view[0].transpose(2, 0, 1)
    stride = STRIDES[name]
    expected = goldens(name)[f"pre{number}.pixel_values_sub"]
    assert np.array_equal(view[:, 3::stride, 5::stride], expected)


def test_a_very_long_picture_keeps_its_least_side():
    entry = catalog.find("deepseek-ai/deepseek-vl-1.3b-chat")
    assert entry is not None
    reader: Any = models.build(entry.config).reader
    from PIL import Image

    square = np.asarray(reader.squared(Image.new("RGB", (4000, 10), "red")))
    assert square.shape == (384, 384, 3)
    assert (square == (255, 0, 0)).all(axis=-1).any(axis=1).sum() == 14


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("key", ["select_layer", "model_name", "unheard_of"])
def test_what_is_not_computed_is_refused(golden_config, case, key):
    config = golden_config(case)
    params = config["vision_config"]["params"]
    params.get("low_res_cfg", params)[key] = "other"
    with pytest.raises(ConfigError, match=key):
        models.build(config)


def test_a_projector_of_another_kind_is_refused(golden_config):
    config = golden_config("deepseek_vl_1p3b")
    config["aligner_config"]["params"]["projector_type"] = "low_high_hybrid_split_mlp_gelu"
    with pytest.raises(ConfigError, match="projector_type"):
        models.build(config)
