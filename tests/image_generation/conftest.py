"""Tiny models that draw, and prompts for them."""

from functools import partial
from typing import Any

import mlx.core as mx
import pytest

from mlx_deepseek.checkpoint.load_weights import load_source
from mlx_deepseek.image_generation import DrawSettings, draw
from mlx_deepseek.image_generation.codes import draw_codes
from mlx_deepseek.image_generation.flow import draw_flow

PAD = 299


@pytest.fixture(scope="session")
def janus(goldens_root) -> Any:
    return load_source(goldens_root / "janus_pro", mx.float32)[0]


@pytest.fixture(scope="session")
def janusflow(goldens_root) -> Any:
    return load_source(goldens_root / "janusflow", mx.float32)[0]


@pytest.fixture(scope="session")
def vae(goldens_root) -> Any:
    return load_source(goldens_root / "janusflow" / "vae", mx.float32)[0]


@pytest.fixture(scope="session", params=["codes", "flow"])
def way(request, goldens, janus, janusflow, vae) -> Any:
    """A way to draw: its settings, and what makes canvases of seeds."""
    if request.param == "codes":
        settings = DrawSettings().filled("codes")
        prompt = goldens("janus_pro")["gen.prompt_ids"][0].tolist()
        return settings, partial(draw_codes, janus, prompt, PAD, **settings.chosen)
    settings = DrawSettings(steps=6).filled("flow")
    prompt = goldens("janusflow")["flow.prompt_ids"][0].tolist()
    return settings, partial(draw_flow, janusflow, prompt, PAD, decode=vae, **settings.chosen)


@pytest.fixture(scope="session")
def pictures(way) -> Any:
    """What seeds give: each picture's bytes."""
    settings, method = way

    def drawn(seeds, preview_every=0):
        *_, last = draw(method, "a cat", seeds, settings, model="tiny", preview_every=preview_every)
        return [picture.image.tobytes() for picture in last.pictures]

    return drawn
