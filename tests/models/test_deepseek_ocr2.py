"""DeepSeek-OCR-2 against the official code: cutting, encoders, layout, logits, each step."""

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

from mlx_deepseek import models
from mlx_deepseek.errors import ConfigError
from mlx_deepseek.vision.encoders.qwen2 import visible
from tests.models.test_parity import LIMIT, relative

CASE = "deepseek_ocr2"
MODES = ("base", "gundam")


@pytest.fixture(scope="module")
def page(goldens_root):
    return Image.open(goldens_root / CASE / "page.png").convert("RGB")


@pytest.fixture(scope="module", params=MODES)
def cut(request, model, page):
    """A mode's name, its plan of the page and the pixels."""
    reader = model.reader.at(request.param)
    (plan,) = reader.plan([page.size])
    return request.param, plan, reader.pixels(page, plan)


def test_pixels_are_the_originals(golden, cut):
    _, plan, pixels = cut
    assert mx.array_equal(sampled(pixels.view), golden["pre.global_sub16"])
    if plan.tiles:
        assert mx.array_equal(sampled(pixels.tiles), golden["pre.local_sub16"])
        assert golden["gundam.spatial_crop"].tolist() == [[plan.columns, plan.rows]]


def sampled(pixels: mx.array) -> mx.array:
    return pixels.transpose(0, 3, 1, 2)[..., 3::16, 5::16]


def test_encoders(model, golden, cut):
    _, plan, pixels = cut
    views = {"global": pixels.view} | ({"local": pixels.tiles[:1]} if plan.tiles else {})
    for name, view in views.items():
        local = model.vision.sam(view)
        assert relative(local.transpose(0, 3, 1, 2), golden[f"{name}.sam"]) <= LIMIT
        encoded = model.vision.qwen2(local)
        assert relative(encoded, golden[f"{name}.encoded"]) <= LIMIT
        projected = golden[f"{name}.projected"][:1]
        assert relative(model.projector(encoded), projected) <= LIMIT


def test_prompt_and_each_decode_step(model, golden, cut):
    mode, plan, pixels = cut
    ids, mask = golden[f"{mode}.input_ids"], np.array(golden[f"{mode}.images_seq_mask"], bool)
    features = model.see(pixels, plan)
    assert features.shape[0] == plan.slots == mask.sum()
    embeddings = np.array(model.embed(ids))
    embeddings[mask] = np.array(features)
    cache = model.make_cache()
    logits = model(ids, cache=cache, input_embeddings=mx.array(embeddings))
    assert relative(logits[:, -24:], golden[f"{mode}.logits_last24"]) <= LIMIT
    logits = logits[:, -1]
    for step in range(golden[f"{mode}.gen_ids"].shape[1]):
        assert relative(logits, golden[f"{mode}.gen_logits"][:, step]) <= LIMIT
        chosen = golden[f"{mode}.gen_ids"][:, step : step + 1]
        assert int(logits.argmax()) == int(chosen[0, 0])
        logits = model(chosen, cache=cache)[:, -1]


def test_patches_see_patches_and_queries_what_comes_before():
    expected = [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    assert visible(2).tolist() == [[bool(seen) for seen in row] for row in expected]


@pytest.mark.parametrize(("size", "tiles"), [((768, 768), 0), ((1000, 990), 4), ((5000, 500), 6)])
def test_tiles_only_for_pictures_larger_than_one_and_at_most_six(model, size, tiles):
    (plan,) = model.reader.plan([size])
    assert plan.tiles == tiles
    assert plan.slots == 256 + 144 * tiles + 1


@pytest.mark.parametrize("key", ["tile_tag", "global_view_pos", "projector_config"])
def test_configs_that_would_be_computed_wrongly_are_refused(golden_config, key):
    with pytest.raises(ConfigError, match=key):
        models.build({**golden_config(CASE), key: "other"})


@pytest.mark.parametrize("place", ["qwen2-0-5b", "sam_vit_b"])
def test_unknown_keys_are_refused_not_ignored(golden_config, place):
    config = golden_config(CASE)
    config["vision_config"]["width"][place]["token_pooling"] = True
    with pytest.raises(ConfigError, match="token_pooling"):
        models.build(config)
