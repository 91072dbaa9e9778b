"""DeepSeek-OCR against the official code: cutting, encoders, layout, logits, each decode step."""

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.models.cache import make_prompt_cache
from PIL import Image

from mlx_deepseek import models
from mlx_deepseek.errors import ConfigError, ImageError
from mlx_deepseek.models.deepseek_ocr import MODES, OCRReader
from mlx_deepseek.vision.tiling.plan import Pixels, TilePlan
from tests.models.test_parity import LIMIT, relative

CASE = "deepseek_ocr"
# The golden pictures are of 256 pixels, tiles of 192.
PLANS = {"base": TilePlan(256, 4), "gundam": TilePlan(256, 4, 192, 3, columns=2, rows=1)}


def normalised(pixels: mx.array) -> mx.array:
    """Stored bytes [T, 3, h, w] as the model takes them."""
    return ((pixels.astype(mx.float32) / 255 - 0.5) / 0.5).transpose(0, 2, 3, 1)


@pytest.fixture(params=PLANS)
def prompt(request, model, golden):
    """A mode's name, its ids and their embeddings with the picture's features in place."""
    mode, plan = request.param, PLANS[request.param]
    tiles = normalised(golden["local_u8"]) if plan.tiles else None
    features = model.see(Pixels(normalised(golden["global_u8"]), tiles), plan)
    ids, mask = golden[f"{mode}.input_ids"], golden[f"{mode}.images_seq_mask"]
    assert features.shape[0] == plan.slots == int(mask.sum())
    embeddings = np.array(model.embed(ids))
    embeddings[np.array(mask, dtype=bool)] = np.array(features)
    return mode, ids, mx.array(embeddings)


@pytest.mark.parametrize("view", ["global", "local"])
def test_projected_features(model, golden, view):
    found = model.encode(normalised(golden[f"{view}_u8"]))
    assert relative(found, golden[f"{view}.projected"]) <= LIMIT


def test_tiles_a_few_at_a_time(model, golden, monkeypatch):
    monkeypatch.setattr("mlx_deepseek.models.vision_lm.PIXELS_AT_A_TIME", 1)
    found = model.encoded(normalised(golden["local_u8"]))
    assert relative(found, golden["local.projected"]) <= LIMIT


def test_features_in_their_places(golden, prompt):
    mode, _, embeddings = prompt
    assert relative(embeddings, golden[f"{mode}.inputs_embeds"]) <= LIMIT


def test_prefill(model, golden, prompt):
    mode, ids, embeddings = prompt
    logits = model(ids, input_embeddings=embeddings)
    assert relative(logits, golden[f"{mode}.logits"]) <= LIMIT


def test_each_decode_step(model, golden, prompt):
    mode, ids, embeddings = prompt
    cache = make_prompt_cache(model)
    logits = model(ids, cache=cache, input_embeddings=embeddings)[:, -1]
    chosen, expected = golden[f"{mode}.gen_ids"], golden[f"{mode}.gen_logits"]
    for step in range(chosen.shape[1]):
        assert relative(logits, expected[:, step]) <= LIMIT
        assert int(logits.argmax()) == int(chosen[0, step])
        logits = model(chosen[:, step : step + 1], cache=cache)[:, -1]


def test_text_alone(model, golden):
    assert relative(model(golden["text.input_ids"]), golden["text.logits"]) <= LIMIT


@pytest.mark.parametrize(
    ("mode", "slots"), [("tiny", 73), ("small", 111), ("base", 273), ("large", 421)]
)
def test_views_of_one_size(mode, slots):
    """64, 100, 256 and 400 tokens of the paper, a newline for each row, and the separator."""
    (plan,) = OCRReader(MODES, mode=mode).plan([(3000, 300)])
    assert (plan.view_px, plan.slots, plan.tiles) == (MODES[mode].view_px, slots, 0)


@pytest.mark.parametrize(("most", "key"), [(9, "hf_max9"), (6, "vllm_max6")])
def test_grids_of_tiles(golden, most, key):
    reader = OCRReader(MODES, most_tiles=most)
    plans = reader.plan([tuple(size) for size in golden["crop_choice.sizes"].tolist()])
    assert [[plan.columns, plan.rows] for plan in plans] == golden[f"crop_choice.{key}"].tolist()


@pytest.mark.parametrize(("picture", "mode"), [(0, "gundam"), (0, "base"), (1, "gundam")])
def test_pixels_are_the_originals(goldens_root, golden, picture, mode):
    """Bit for bit, at every 16th pixel, for a picture that is cut and one too small for it."""
    opened = Image.open(goldens_root / "_images" / f"real{picture}.webp")
    reader = OCRReader(MODES, mode=mode, most_tiles=6)
    (plan,) = reader.plan([opened.size])
    pixels, stored = reader.pixels(opened, plan), f"pre{picture}.{mode}"
    image_token = 128815
    assert plan.slots == int((golden[f"{stored}.input_ids"] == image_token).sum())
    assert mx.array_equal(sampled(pixels.view), golden[f"{stored}.pixel_values_sub16"])
    grid = [plan.columns, plan.rows] if plan.tiles else [1, 1]
    assert golden[f"{stored}.spatial_crop"].tolist() == [grid]
    if pixels.tiles is not None:
        assert mx.array_equal(sampled(pixels.tiles)[None], golden[f"{stored}.images_crop_sub16"])


def sampled(pixels: mx.array) -> mx.array:
    return pixels.transpose(0, 3, 1, 2)[..., 3::16, 5::16]


def test_small_views_are_stretched_and_large_ones_padded():
    picture = Image.new("RGB", (200, 100), "white")
    for mode, padded in (("tiny", False), ("small", False), ("base", True), ("large", True)):
        reader = OCRReader(MODES, mode=mode)
        view = reader.pixels(picture, reader.plan([picture.size])[0]).view
        side = MODES[mode].view_px
        assert view.shape == (1, side, side, 3)
        assert (float(view[0, 0, 0, 0]) < 0.0) == padded
        assert float(view[0, side // 2, side // 2, 0]) == 1.0


def test_modes_by_name():
    reader = OCRReader(MODES)
    assert reader.at("tiny") == replace(reader, mode="tiny")
    with pytest.raises(ImageError, match="tiny, small, base, large, gundam"):
        reader.at("huge")


@pytest.mark.parametrize(
    ("key", "value"), [("tile_tag", "1D"), ("global_view_pos", "tail"), ("projector_config", None)]
)
def test_configs_that_would_be_computed_wrongly_are_refused(golden_config, key, value):
    with pytest.raises(ConfigError, match=key):
        models.build({**golden_config(CASE), key: value})


@pytest.mark.parametrize(
    "place",
    [("vision_config",), ("projector_config",), ("vision_config", "width", "clip-l-14-224")],
)
def test_unknown_keys_are_refused_not_ignored(golden_config, place):
    config = golden_config(CASE)
    inner = config
    for key in place:
        inner = inner[key]
    inner["token_pooling"] = True
    with pytest.raises(ConfigError, match="token_pooling"):
        models.build(config)
