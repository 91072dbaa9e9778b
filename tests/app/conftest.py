"""One server per kind of engine and one browser for all tests that need them."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from mlx_deepseek_app.command import Served, serve
from tests.app import scripted


def chromium() -> str | None:
    """The installed browser."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = (shutil.which(name) for name in names)
    return os.environ.get("MLX_DEEPSEEK_CHROMIUM") or next(filter(None, found), None)


# module: while Playwright runs, no other test of this thread can run an event loop
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = chromium()
    if path is None:
        reason = "no Chromium: apt-get install chromium, or set MLX_DEEPSEEK_CHROMIUM to its path"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=30_000)  # two slow cores, often shared
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="session")
def engines() -> list[scripted.ScriptedEngine]:
    """Every scripted engine that the server has loaded, newest last."""
    return []


@pytest.fixture(scope="session")
def site(engines: list[scripted.ScriptedEngine]) -> Iterator[Served]:
    """A page over scripted engines."""

    def loader(
        source: str, *, progress: Any = None, recipe: str | None = None
    ) -> scripted.ScriptedEngine:
        engines.append(scripted.load(source, progress=progress))
        return engines[-1]

    served = serve(loader, "scripted")
    yield served
    served.close()


@pytest.fixture(scope="session")
def nano_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A page over the real embedded model."""
    from mlx_deepseek import load

    before = os.environ.get("MLX_DEEPSEEK_CACHE")
    os.environ["MLX_DEEPSEEK_CACHE"] = before or str(tmp_path_factory.mktemp("cache"))
    served = serve(load, "nano")
    yield served
    served.close()
    if before is None:
        del os.environ["MLX_DEEPSEEK_CACHE"]


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens tabs; at the end of the test none may have complained or left this machine."""
    contexts, problems = [], []

    def open_page(
        served: Served,
        *,
        ready: str = "#chat .example",
        watched: bool = True,
        width: int = 1280,
        height: int = 800,
        **options: Any,
    ) -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        if watched:  # the server is not killed
            page.on("pageerror", lambda error: problems.append(f"page error: {error}"))
            page.on(
                "console",
                lambda note: note.type == "error" and problems.append(f"console: {note.text}"),
            )
        page.on("request", lambda asked: is_local(asked.url) or problems.append(asked.url))
        page.goto(served.url)
        page.wait_for_selector(ready)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not problems


def is_local(url: str) -> bool:
    """Whether a request stays on this machine."""
    return urlsplit(url).scheme in ("data", "blob") or urlsplit(url).hostname == "127.0.0.1"


def wait_until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Wait for something in this process."""
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, "timed out"
        time.sleep(0.02)
