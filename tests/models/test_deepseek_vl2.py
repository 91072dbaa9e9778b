"""DeepSeek-VL2 against the official code: tiles, features, layout, logits, each decode step."""

from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_deepseek import catalog, models
from mlx_deepseek.checkpoint.load_weights import load_source
from mlx_deepseek.errors import ConfigError
from mlx_deepseek.generation.prompt_images import PromptImages
from mlx_deepseek.vision.image_file import open_picture
from tests.models.test_parity import LIMIT, relative

# Cases and their prompts: one picture, two, and three that are not cut into tiles.
PROMPTS = {
    ("deepseek_vl2_tiny", "img1"): ("tiny0",),
    ("deepseek_vl2_tiny", "img3_nocrop"): ("tiny0", "tiny1", "tiny0"),
    ("deepseek_vl2_small", "img1"): ("tiny0",),
    ("deepseek_vl2", "img2"): ("tiny0", "tiny1"),
}
IMAGE_TOKEN = 280


@pytest.fixture(scope="module")
def loaded(goldens_root) -> Any:
    cases = {case for case, _ in PROMPTS}
    return {case: load_source(goldens_root / case, mx.float32)[0] for case in cases}


@pytest.fixture(params=PROMPTS, ids="-".join)
def prompt(request, loaded, goldens, goldens_root):
    """A model, the golden's numbers, and the prompt as the engine puts it together."""
    case, name = request.param
    model, golden = loaded[case], goldens(case)
    numbers = {k.removeprefix(f"{name}."): v for k, v in golden.items() if k.startswith(name)}
    pictures = [open_picture(goldens_root / case / f"{p}.png") for p in PROMPTS[request.param]]
    encoder = PromptImages(model)
    ids, placed = encoder.place(numbers["input_ids"][0].tolist(), IMAGE_TOKEN, pictures)
    return model, numbers, encoder.embed(ids, placed)


def test_features_in_their_places(prompt):
    _, numbers, embeddings = prompt
    assert relative(embeddings, numbers["inputs_embeds"]) <= LIMIT


def test_prefill(prompt):
    model, numbers, embeddings = prompt
    logits = model(numbers["input_ids"], input_embeddings=embeddings)
    assert relative(logits, numbers["logits"]) <= LIMIT


def test_each_decode_step(prompt):
    model, numbers, embeddings = prompt
    cache = model.make_cache()
    logits = model(numbers["input_ids"], cache=cache, input_embeddings=embeddings)[:, -1]
    for step in range(numbers["gen_ids"].shape[1]):
        assert relative(logits, numbers["gen_logits"][:, step]) <= LIMIT
        logits = model(numbers["gen_ids"][:, step : step + 1], cache=cache)[:, -1]


@pytest.mark.parametrize("case", ["deepseek_vl2_tiny", "deepseek_vl2_small"])
def test_encoder_and_projector(loaded, goldens, goldens_root, case):
    model, golden = loaded[case], goldens(case)
    picture = open_picture(goldens_root / case / "tiny0.png")
    (plan,) = model.reader.plan([picture.size])
    pixels = model.reader.pixels(picture, plan)
    features = model.vision(mx.concatenate([pixels.view, pixels.tiles]))
    assert relative(features, golden["img1.vision_features"]) <= LIMIT
    assert relative(model.projector(features), golden["img1.projected"]) <= LIMIT


@pytest.fixture(scope="module")
def released() -> Any:
    """A model of the released sizes; only its reader is used."""
    entry = catalog.find("deepseek-ai/deepseek-vl2")
    assert entry is not None
    return models.build(entry.config)


@pytest.mark.parametrize(("number", "slots"), [(0, 1415), (1, 631)])
def test_preprocessing_is_the_originals_bit_by_bit(released, goldens, goldens_root, number, slots):
    picture = open_picture(goldens_root / "_images" / f"real{number}.webp")
    (plan,) = released.reader.plan([picture.size])
    assert plan.slots == slots
    pixels = released.reader.pixels(picture, plan)
    views = mx.concatenate([pixels.view, pixels.tiles]).transpose(0, 3, 1, 2)
    expected = goldens("deepseek_vl2")[f"pre{number}.pixel_values_sub16"]
    assert np.array_equal(views[:, :, 3::16, 5::16], expected)


@pytest.mark.parametrize(
    "change",
    [
        {"tile_tag": "1D"},
        {"global_view_pos": "tail"},
        {"projector_config": None},
        {"projector_config": {"n_embed": 60, "input_dim": 36, "projector_type": "linear"}},
        {"projector_config": {"n_embed": 60, "input_dim": 36, "token_pooling": True}},
        {"projector_config": {"n_embed": 60, "input_dim": 37}},
    ],
)
def test_what_is_not_computed_is_refused(golden_config, change):
    with pytest.raises(ConfigError):
        models.build(golden_config("deepseek_vl2_tiny") | change)


def test_an_encoder_that_mlx_vlm_padded_computes_the_same(loaded, golden_config):
    """Its old versions widen the MLP with zeros to whole groups, and say so in config.json."""
    config, original = golden_config("deepseek_vl2_tiny"), loaded["deepseek_vl2_tiny"]
    config["vision_config"] |= {"intermediate_size": 192, "skip_vision": False}
    padded: Any = models.build(config)
    weights = dict(tree_flatten(original.parameters()))
    for name, value in weights.items():
        if name.startswith("vision.") and ".fc1." in name:
            more = 192 - value.shape[0]
            weights[name] = mx.pad(value, [(0, more), *[(0, 0)] * (value.ndim - 1)])
        elif name.startswith("vision.") and name.endswith(".fc2.weight"):
            weights[name] = mx.pad(value, [(0, 0), (0, 192 - value.shape[1])])
    padded.load_weights(list(weights.items()))
    tiles = mx.random.uniform(-1, 1, (2, 70, 70, 3), key=mx.random.key(0))
    assert relative(padded.encode(tiles), original.encode(tiles)) <= 1e-5
