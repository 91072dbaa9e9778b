"""A model on its way from a hub, with the real converter: paused, found again, gone on with."""

import asyncio
import time

import pytest

from mlx_deepseek import load
from mlx_deepseek.checkpoint.conversion_cache import unfinished
from mlx_deepseek_app.jobs.model_service import ModelService
from mlx_deepseek_app.jobs.queue import Job
from mlx_deepseek_app.models import cards
from mlx_deepseek_app.models.loads import Load, Loads
from tests.app import scripted
from tests.hub_server import served
from tests.waiting import wait_until

REPO = "deepseek-ai/DeepSeek-V2-Lite"


@pytest.fixture
def hub(goldens_root, tmp_path, monkeypatch):
    monkeypatch.setenv("MLX_DEEPSEEK_CACHE", str(tmp_path / "cache"))
    files = {path.name: path.read_bytes() for path in (goldens_root / "deepseek_v2_lite").iterdir()}
    del files["golden.safetensors"]
    with served({REPO: files}, tmp_path, monkeypatch) as fake:
        yield fake


def card():
    return next(card for card in cards.cards(64 * 10**9) if card.repo == REPO)


def test_a_paused_conversion_is_on_its_card_and_goes_on_or_is_discarded(hub):
    pausing = True

    def loader(source, *, progress, **options):
        def noting(stage, done, total):
            if pausing and stage == "convert" and done:
                service.loads.cancel("models")
            progress(stage, done, total)

        return load(source, progress=noting, **options)

    service = ModelService(loader)

    def get():
        job = service.load("models", *cards.source(card(), "4bit"))
        wait_until(lambda: job.finished, 60)
        return job

    assert get().cancelled
    assert service.engine is None
    assert card().begun == ("4bit",)
    assert cards.discard(card()) > 0
    assert card().begun == ()
    get()
    assert unfinished(REPO, "4bit")
    pausing = False
    assert not get().error
    assert service.engine.name == REPO
    assert card().begun == ()
    assert card().here


def test_what_was_downloaded_is_removed_once_however_many_tabs_see_the_end(monkeypatch):
    removed = []

    def discard(card):
        time.sleep(0.05)  # so that the other tab comes meanwhile
        removed.append(card)

    monkeypatch.setattr(cards, "discard", discard)
    loads = Loads(ModelService(scripted.load))
    load = loads._last = Load(REPO, Job("models", lambda job: None), card(), dropped=True)
    load.job.finished = True

    async def told():
        return [html async for html in loads.follow(load)]

    async def in_two_tabs():
        return await asyncio.gather(told(), told())

    for (html,) in asyncio.run(in_two_tabs()):
        assert "nothing of it is kept" in html
    assert removed == [load.card]
