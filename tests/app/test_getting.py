"""A model on its way from a hub, with the real converter: paused, found again, gone on with."""

import pytest

from mlx_deepseek import load
from mlx_deepseek.converted import unfinished
from mlx_deepseek_app import library
from mlx_deepseek_app.host import Host
from tests.app.conftest import wait_until
from tests.hub_server import served

REPO = "deepseek-ai/DeepSeek-V2-Lite"


@pytest.fixture
def hub(goldens_root, tmp_path, monkeypatch):
    monkeypatch.setenv("MLX_DEEPSEEK_CACHE", str(tmp_path / "cache"))
    files = {path.name: path.read_bytes() for path in (goldens_root / "deepseek_v2_lite").iterdir()}
    del files["golden.safetensors"]
    with served({REPO: files}, tmp_path, monkeypatch) as fake:
        yield fake


def card():
    return next(card for card in library.cards(64 * 10**9) if card.repo == REPO)


def test_a_paused_conversion_is_on_its_card_and_goes_on_or_is_discarded(hub):
    pausing = True

    def loader(source, *, progress, **options):
        def noting(stage, done, total):
            if pausing and stage == "convert" and done:
                host.loads.cancel("models")
            progress(stage, done, total)

        return load(source, progress=noting, **options)

    host = Host(loader)

    def get():
        job = host.load("models", *library.source(card(), "4bit"))
        wait_until(lambda: job.finished, 60)
        return job

    assert get().cancelled
    assert host.engine is None
    assert card().begun == ("4bit",)
    assert library.discard(card()) > 0
    assert card().begun == ()
    get()
    assert unfinished(REPO, "4bit")
    pausing = False
    assert not get().error
    assert host.engine.name == REPO
    assert card().begun == ()
    assert card().here
