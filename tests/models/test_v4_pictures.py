"""Pictures of V4's vision release and V4.1 against the reference, logits included."""

import json
from functools import partial

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

from mlx_deepseek import catalog, models
from mlx_deepseek.checkpoint.token_map import attach_token_map
from mlx_deepseek.errors import ConfigError, PromptError
from mlx_deepseek.generation.prompt_images import PromptImages
from mlx_deepseek.generation.request import Request
from mlx_deepseek.generation.sampling import Sampling
from mlx_deepseek.layers.visible_range import _visible_range
from mlx_deepseek.models.v4_vision import PictureLM
from mlx_deepseek.vision.picture_slots import Slot, read_slot, whole_after, whole_before
from mlx_deepseek.vision.tiling.patches import END, KINDS, NEWLINE, PATCHES, START, PatchPlan
from mlx_deepseek.vision.tiling.plan import Pixels
from mlx_deepseek_convert import weights

LIMIT = 1e-4
RELEASES = {"v4": "DeepSeek-V4-Flash-Vision-Exp", "v41": "DeepSeek-V4.1-Flash"}
V41_TYPES = (START, PATCHES, NEWLINE, END)  # by the reference's numbers


def relative(a: mx.array, b: mx.array) -> float:
    return float(mx.abs(a - b).max() / mx.sqrt(mx.var(b)))


def loaded(name, goldens_root, golden_config, goldens):
    model = models.build(golden_config(name))
    model.load_weights(list(weights(goldens_root / name, "float32")), strict=True)
    attach_token_map(model, goldens_root / name)
    return model, goldens(name)


@pytest.fixture(scope="module")
def v4(goldens_root, golden_config, goldens):
    return loaded("deepseek_v4_vision", goldens_root, golden_config, goldens)


@pytest.fixture(scope="module")
def v41(goldens_root, golden_config, goldens):
    return loaded("deepseek_v41", goldens_root, golden_config, goldens)


def pixels(patches: mx.array, grid: list[int]) -> mx.array:
    """A picture [1, H, W, 3] of its patches [n, 3, px, px]."""
    (rows, columns), px = grid, patches.shape[-1]
    cut = patches.reshape(rows, columns, 3, px, px).transpose(0, 3, 1, 4, 2)
    return cut.reshape(1, rows * px, columns * px, 3)


def plan_of(model, grid: list[int], start: int) -> PatchPlan:
    reader = model.reader
    return PatchPlan(reader.patch_px, *grid, reader.ratio, reader.paired).at(start)


def v4_prompt(model, golden):
    """Numbers that the model is told, and embeddings, of the reference's two pictures."""
    vocab = model.args.vocab
    told = [number if number < vocab else vocab - 1 - number for number in golden_ids(golden)]
    embeddings = model.embed(mx.array([[max(number, 0) for number in told]]))
    for k in (0, 1):
        grid, start = golden[f"vl.grid_hw.{k}"].tolist(), int(golden[f"vl.start.{k}"].item())
        plan = plan_of(model, grid, start)
        seen = model.see(Pixels(pixels(golden[f"vl.patches.{k}"], grid)), plan)
        embeddings[0, start : start + plan.slots] = seen
    return mx.array([told]), embeddings


def golden_ids(golden) -> list[int]:
    return golden["vl.input_ids"][0].tolist()


@pytest.mark.parametrize("number", [0, 1])
def test_v4s_features_and_places(v4, number):
    model, golden = v4
    grid, start = golden[f"vl.grid_hw.{number}"].tolist(), int(golden[f"vl.start.{number}"].item())
    features = model.vision(pixels(golden[f"vl.patches.{number}"], grid))
    found = model.projector(features, tuple(grid))[0]
    assert relative(found, golden[f"vl.aligned.{number}"]) <= LIMIT
    plan = plan_of(model, grid, start)
    assert [row for _, row in plan.layout if row >= 0] == golden[f"vl.perm.{number}"].tolist()
    own = golden_ids(golden)[start : start + plan.slots]
    assert [model.args.vocab + kind - 1 for kind in plan.kinds] == own


def test_v4s_embeddings_and_logits(v4):
    model, golden = v4
    told, embeddings = v4_prompt(model, golden)
    assert relative(embeddings[0], golden["vl.inputs_embeds"]) <= LIMIT
    logits = model(told, input_embeddings=embeddings)
    assert relative(logits, golden["vl.logits"]) <= LIMIT
    twice = model(mx.tile(told, (2, 1)), input_embeddings=mx.tile(embeddings, (2, 1, 1)))
    assert relative(twice[1:], golden["vl.logits"]) <= LIMIT


def test_v4s_window_mask(v4):
    model, golden = v4
    types = np.array([[max(n - model.args.vocab, -1) for n in golden_ids(golden)]])
    config = model.layers[0].self_attn.config
    seen = _visible_range(types, 0, config.window - 1, config.spans)
    places = np.arange(types.shape[1])
    mask = (places >= seen.first[0][:, None]) & (places <= seen.last[0][:, None])
    assert np.array_equal(mask, np.array(golden["vl.window_mask"]) > 0)


def test_a_prompt_cut_between_pictures(v4):
    """Where a picture stays whole, a prompt may be read in any pieces."""
    model, golden = v4
    told, embeddings = v4_prompt(model, golden)
    numbers = np.array(told[0])
    cuts = [i for i in range(1, len(numbers)) if numbers[i] >= 0 or numbers[i - 1] >= 0]
    assert len(cuts) > 20
    for cut in cuts:
        cache = model.make_cache()
        first = model(told[:, :cut], cache=cache, input_embeddings=embeddings[:, :cut])
        rest = model(told[:, cut:], cache=cache, input_embeddings=embeddings[:, cut:])
        both = mx.concatenate([first, rest], axis=1)
        assert relative(both, golden["vl.logits"]) <= LIMIT, cut


def test_v41s_features_and_logits(v41):
    model, golden = v41
    grid, types = golden["vl.grid_hw"].tolist(), golden["vl.token_types"][0].tolist()
    seen = pixels(golden["vl.patches"], grid)
    assert relative(model.vision(seen)[0], golden["vl.tower"]) <= LIMIT
    found = model.projector(model.vision(seen), tuple(grid))[0]
    assert relative(found, golden["vl.aligned"]) <= LIMIT
    plan = plan_of(model, grid, 0)
    assert plan.kinds == [V41_TYPES[kind] for kind in types if kind >= 0]
    ids, start = golden_ids(golden), next(i for i, kind in enumerate(types) if kind >= 0)
    embeddings = model.embed(mx.array([ids]))
    embeddings[0, start : start + plan.slots] = model.see(Pixels(seen), plan)
    pairs = zip(ids, types, strict=True)
    told = mx.array([[n if kind < 0 else -V41_TYPES[kind] for n, kind in pairs]])
    logits = model(told, input_embeddings=embeddings)
    assert relative(logits, golden["vl.logits"]) <= LIMIT
    for cut in range(1, len(ids)):  # causal: cut anywhere
        cache = model.make_cache()
        model(told[:, :cut], cache=cache, input_embeddings=embeddings[:, :cut])
        rest = model(told[:, cut:], cache=cache, input_embeddings=embeddings[:, cut:])
        assert relative(rest, golden["vl.logits"][:, cut:]) <= LIMIT, cut


@pytest.fixture(params=RELEASES)
def released(request):
    entry = catalog.find(f"deepseek-ai/{RELEASES[request.param]}")
    assert entry is not None
    model = models.build(entry.config)
    assert isinstance(model, PictureLM)
    return request.param, model.reader


def test_grids_of_every_size(released, goldens_root):
    name, reader = released
    stored = json.loads((goldens_root / "deepseek_v4_images" / "grids.json").read_text())
    assert len(stored["sizes"]) > 50
    for size in stored["sizes"]:
        (plan,) = reader.plan([(size["width"], size["height"])])
        assert [plan.rows, plan.columns, *plan.grid] == size[name], size


@pytest.mark.parametrize("picture", ["0", "1", "wide"])
def test_patches(released, goldens_root, goldens, picture):
    name, reader = released
    golden = goldens("deepseek_v4_images")
    own = goldens_root / "deepseek_v4_images" / "wide.png"
    path = own if picture == "wide" else goldens_root / "_images" / f"real{picture}.webp"
    with Image.open(path) as opened:
        shown = opened.convert("RGB")
    (plan,) = reader.plan([shown.size])
    assert [plan.rows, plan.columns, *plan.grid] == golden[f"{name}.{picture}.grid"].tolist()
    px = plan.patch_px
    view = (reader.pixels(shown, plan).view[0] * 0.5 + 0.5) * 255
    cut = view.reshape(plan.rows, px, plan.columns, px, 3).transpose(0, 2, 4, 1, 3)
    found = mx.round(cut.reshape(-1, 3, px, px)[golden[f"{name}.{picture}.rows"]])
    assert mx.array_equal(found.astype(mx.uint8), golden[f"{name}.{picture}.bytes"])


def test_a_picture_never_takes_more_than_it_may(released):
    _, reader = released
    sizes = [(w, h) for w in (1, 37, 500, 4096, 20000) for h in (1, 37, 500, 4096, 20000)]
    for plan in reader.plan(sizes):
        longest = max(plan.at(position).slots for position in range(4))
        assert 3 < longest <= reader.most_tokens
        assert len(plan.kinds) == plan.slots


def test_v41_takes_as_many_tokens_as_deepseeks_own_count():
    recipe = pytest.importorskip("deepseek_recipe")
    entry = catalog.find("deepseek-ai/DeepSeek-V4.1-Flash")
    assert entry is not None
    reader = models.build(entry.config).reader
    generator = np.random.default_rng(0)
    for size in generator.integers(1, 5000, (200, 2)).tolist():
        (plan,) = reader.plan([tuple(size)])
        counted = recipe.MultiModalData([recipe.ImageInfo(b"", *size)]).image_token_adjustment()
        assert plan.slots == counted + 1, size


def test_slots_say_what_they_are():
    for slot in (Slot(0, 0), Slot(2**40 - 1, 2**20 - 1, 5), Slot(7, 3, 1)):
        assert slot.number < 0
        assert slot.number >= -(2**63)
        assert read_slot(slot.number) == slot


def test_a_picture_is_read_in_one_piece():
    one, two = ([Slot(p, i, 1).number for i in range(4)] for p in (1, 2))
    ids = [5, *one, *one, *two, 6]
    assert [whole_before(ids, cut) for cut in (0, 1, 2, 4, 5, 7, 9, 12, 13, 14)] == [
        *(0, 1, 1, 1, 5, 5, 9, 9, 13, 14)
    ]
    assert [whole_after(ids, cut) for cut in (1, 2, 5, 6, 13, 14)] == [1, 5, 5, 9, 13, 14]
    plain = [5, *(Slot(1, i).number for i in range(4)), 6]
    assert [whole_before(plain, cut) for cut in range(6)] == list(range(6))


def test_the_prompts_padding_follows_its_place(v4):
    """The token after a picture's start stands at a multiple of 4."""
    model, _ = v4
    eyes = PromptImages(model)
    picture = Image.new("RGB", (40, 30), "red")
    for before in range(5):
        ids, placed = eyes.place([1] * before + [9, 2], 9, [picture])
        kinds = [read_slot(number).kind for number in ids if number < 0]
        assert (before + kinds.index(START) + 1) % 4 == 0
        embed = partial(eyes.embed, images=placed)
        request = Request(ids, 1, Sampling(), frozenset(), embed)
        told, embeddings = request.part(0, len(ids))
        assert embeddings is not None
        assert embeddings.shape[1] == len(ids)
        assert [-n for n in told[0].tolist() if n < 0] == kinds
    with pytest.raises(PromptError, match="ends with a picture"):
        eyes.place([1, 9], 9, [picture])


def test_a_text_model_of_the_same_release(golden_config):
    for name in ("deepseek_v4_vision", "deepseek_v41"):
        config = golden_config(name)
        assert isinstance(models.build(config), PictureLM)
        assert not isinstance(models.build(models.without_pictures(config)), PictureLM)


def test_unknown_keys_of_the_encoder_are_refused(golden_config):
    config = golden_config("deepseek_v4_vision")
    with pytest.raises(ConfigError, match="new_trick"):
        models.build({**config, "vision_new_trick": 1})
    with pytest.raises(ConfigError, match="multiple of 4"):
        models.build({**config, "vision_n_heads": 3})
    config = golden_config("deepseek_v41")
    with pytest.raises(ConfigError, match="new_trick"):
        models.build({**config, "vision_config": {**config["vision_config"], "new_trick": 1}})


def test_kinds_are_those_of_the_reference():
    assert list(KINDS) == [1, 2, 3, 4, 5]
