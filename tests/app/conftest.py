"""One browser, one server over scripted engines and one over nano for all tests that need them."""

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import pytest

from mlx_deepseek_app.command import Served, serve
from tests.app import scripted
from tests.waiting import wait_until

# what Gradio says of what a page is being told when one leaves or reloads it
LEAVING = ("AbortError: ", "Unexpected error Connection errored out")
BLANK = "about:blank"  # what a tab shows that nobody uses


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests in the browser are tried again where they fail, and counted; no others."""
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.flaky(reruns=2))


def chromium() -> str | None:
    """The installed browser."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = (shutil.which(name) for name in names)
    return os.environ.get("MLX_DEEPSEEK_CHROMIUM") or next(filter(None, found), None)


@pytest.fixture(scope="session")
def running_chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one browser for the whole session."""
    path = chromium()
    if path is None:
        reason = "no Chromium: apt-get install chromium, or set MLX_DEEPSEEK_CHROMIUM to its path"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    folder = tmp_path_factory.mktemp("chromium")
    options = ["--headless=new", "--no-sandbox", "--remote-debugging-port=0", "--no-first-run"]
    options += [f"--user-data-dir={folder}", "--disable-extensions", "--mute-audio", "--lang=en-US"]
    options += ["--disable-back-forward-cache"]  # so that a page that was left is gone
    process = subprocess.Popen(
        [path, *options, BLANK], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert process.stderr is not None
    said = "DevTools listening on "
    address = next(line for line in process.stderr if line.startswith(said)).removeprefix(said)
    threading.Thread(target=process.stderr.read, daemon=True).start()  # so that it never blocks
    yield address.strip()
    process.terminate()
    process.wait()


# module: while Playwright runs, no other test of this thread can run an event loop
@pytest.fixture(scope="module")
def browser(running_chromium: str) -> Iterator[Any]:
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=120_000)  # two slow cores, often shared
    with sync_playwright() as playwright:
        yield playwright.chromium.connect_over_cdp(running_chromium, timeout=120_000)


@pytest.fixture(scope="module")
def contexts(browser: Any) -> Iterator[dict[str, Any]]:
    """Contexts by their options; without any it is the session's own, whose tabs stay open.

    A tab that opens the page again takes half of what a new one takes.
    """
    made: dict[str, Any] = {repr({}): browser.contexts[0]}
    yield made
    for options, context in made.items():
        if options != repr({}):
            context.close()


@pytest.fixture(scope="session")
def server() -> Iterator[tuple[Served, list[scripted.ScriptedEngine]]]:
    """One server over scripted engines, and the engines that the present test has loaded."""
    engines: list[scripted.ScriptedEngine] = []

    def loader(
        source: str, *, progress: Any = None, recipe: str | None = None
    ) -> scripted.ScriptedEngine:
        engines.append(scripted.load(source, progress=progress))
        return engines[-1]

    served = serve(loader, "scripted")
    wait_until(lambda: served.service.engine is not None, 60)
    yield served, engines
    served.close()


def use(
    server: tuple[Served, list[scripted.ScriptedEngine]], source: str
) -> Iterator[scripted.ScriptedEngine]:
    """Put an engine of the test's own in memory; its replies end with the test."""
    served, engines = server
    engines[:] = [engine := scripted.load(source)]
    served.service.engine, served.service.source = engine, source
    yield engine
    with served.service.replies.paused():  # what the test left running
        pass


@pytest.fixture
def engines(
    server: tuple[Served, list[scripted.ScriptedEngine]],
) -> Iterator[list[scripted.ScriptedEngine]]:
    """The scripted engines that the test has loaded, newest last."""
    for _ in use(server, "scripted"):
        yield server[1]


@pytest.fixture
def site(server: tuple[Served, Any], engines: list[scripted.ScriptedEngine]) -> Served:
    """A page over a scripted engine."""
    return server[0]


@pytest.fixture
def engine(
    server: tuple[Served, list[scripted.ScriptedEngine]], request: pytest.FixtureRequest
) -> Iterator[scripted.ScriptedEngine]:
    """An engine with abilities, named by the module's SOURCE."""
    yield from use(server, request.module.SOURCE)


@pytest.fixture
def able_site(server: tuple[Served, Any], engine: scripted.ScriptedEngine) -> Served:
    """A page over `engine`."""
    return server[0]


@pytest.fixture(scope="session")
def nano_site() -> Iterator[Served]:
    """A page over the real embedded model."""
    from mlx_deepseek import load

    served = serve(load, "nano")
    yield served
    served.close()


@pytest.fixture
def open_page(browser: Any, contexts: dict[str, Any]) -> Iterator[Callable[..., Any]]:
    """Opens tabs; at the end of the test none may have complained or left this machine."""
    pages: list[Any] = []
    problems: list[str] = []

    def on_note(note: Any) -> None:
        if note.type == "error" and not note.text.startswith(LEAVING):
            problems.append(f"console: {note.text}")

    def on_error(error: Any) -> None:
        problems.append(f"page error: {error}")

    def on_request(asked: Any) -> None:
        if not is_local(asked.url):
            problems.append(asked.url)

    def open_page(
        served: Served,
        *,
        ready: str = "#suggestions li",
        watched: bool = True,
        width: int = 1280,
        height: int = 800,
        color_scheme: str = "light",
        reduced_motion: str = "no-preference",
        **options: Any,
    ) -> Any:
        context = contexts.get(repr(options))
        if context is None:
            context = contexts[repr(options)] = browser.new_context(**options)
        free = [page for page in context.pages if page.url == BLANK and page not in pages]
        page = free[0] if free else context.new_page()
        pages.append(page)
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=color_scheme, reduced_motion=reduced_motion)
        page.set_default_timeout(120_000)
        if watched:  # the server is not killed
            page.on("pageerror", on_error)
            page.on("console", on_note)
        page.on("request", on_request)
        page.goto(served.url)
        page.wait_for_selector(ready)
        return page

    yield open_page
    for context in {id(page.context): page.context for page in pages}.values():
        for page in context.pages:
            leave(page, keep=page in pages)
    for page in pages:
        for event, watch in (
            ("pageerror", on_error),
            ("console", on_note),
            ("request", on_request),
        ):
            with suppress(KeyError):  # not all are watched
                page.remove_listener(event, watch)
    assert not problems


def leave(page: Any, *, keep: bool) -> None:
    """Forget what the page has kept in the browser, and keep the tab for the next test or not."""
    if page.url != BLANK:
        page.evaluate("() => { try { localStorage.clear(); sessionStorage.clear(); } catch {} }")
        page.goto(BLANK) if keep else page.close()


def is_local(url: str) -> bool:
    """Whether a request stays on this machine."""
    return urlsplit(url).scheme in ("data", "blob") or urlsplit(url).hostname == "127.0.0.1"
