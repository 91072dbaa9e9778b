"""The choice of a grid: the goldens' sizes, and laws."""

from hypothesis import given
from hypothesis import strategies as st

from mlx_deepseek import catalog
from mlx_deepseek.vision.tiling.layout import mosaic, rows
from mlx_deepseek.vision.tiling.plan import TilePlan, best_grid, best_resolution, grids

SIDES = st.integers(1, 5000)


def test_vl2s_resolutions_are_the_originals(goldens):
    golden = goldens("deepseek_vl2")
    entry = catalog.find("deepseek-ai/deepseek-vl2")
    assert entry is not None
    candidates = [(w, h) for w, h in entry.config["candidate_resolutions"]]
    for size, best in zip(
        golden["crop_choice.sizes"].tolist(), golden["crop_choice.best"].tolist(), strict=True
    ):
        assert best_resolution(tuple(size), candidates) == tuple(best)


def test_ocrs_grids_are_the_originals(goldens):
    golden = goldens("deepseek_ocr")
    sizes = [tuple(size) for size in golden["crop_choice.sizes"].tolist()]
    for most, key in ((9, "hf_max9"), (6, "vllm_max6")):
        expected = [tuple(grid) for grid in golden[f"crop_choice.{key}"].tolist()]
        assert [best_grid(size, most, 640) for size in sizes] == expected


@given(SIDES, SIDES, st.integers(2, 12))
def test_a_grid_has_as_many_tiles_as_allowed_and_the_nearest_shape(width, height, most):
    columns, lines = best_grid((width, height), most, 640)
    assert 2 <= columns * lines <= most
    distance = abs(width / height - columns / lines)
    assert all(distance <= abs(width / height - c / r) for c, r in grids(most))


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5))
def test_slots_are_as_many_as_the_laid_out_features(columns, lines, view, tile):
    import mlx.core as mx

    plan = TilePlan(64, view, 32, tile, columns, lines)
    tiles = mx.arange(plan.tiles * tile * tile)[:, None].reshape(plan.tiles, tile * tile, 1)
    picture = mosaic(tiles, plan)
    assert picture.shape == (lines * tile, columns * tile, 1)
    assert sorted(picture.flatten().tolist()) == list(range(tiles.size))
    assert len(rows(picture, mx.zeros((1,)))) == plan.tile_slots
    assert plan.slots == plan.tile_slots + view * (view + 1) + 1
