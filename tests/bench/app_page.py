"""The figures of the app that anybody feels: starting it, its page, the first words, stopping.

    python tests/bench/app_page.py

The command runs as a process of its own on nano, then nano-ocr; CPU seconds are that process's, and
those of the page's main thread. Wall times are upper bounds where the machine is shared.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.app.conftest import chromium, is_local  # noqa: E402

COMMAND = [str(Path(sys.executable).parent / "mlx-deepseek"), "app", "--no-browser", "--data"]
TICKS = os.sysconf("SC_CLK_TCK")
SUMS = ("What is 347 + 586?", "What is 12 + 34?", "What is 250 + 131?")
WORDS = "#chat [data-testid=bot]"


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / TICKS


def started(model: str, folder: str) -> tuple[subprocess.Popen[str], str]:
    """The command, and the address that it prints."""
    began_s = time.monotonic()
    process = subprocess.Popen(
        [*COMMAND, f"{folder}/{model}", model], stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stderr is not None
    line = next(line for line in process.stderr if " is at http" in line)
    print(f"{model}: command to printed address", told(began_s), f"{cpu_s(process.pid):.1f} s CPU")
    return process, line.split(" is at ")[1].split()[0]


def told(began_s: float) -> str:
    """Seconds since then."""
    return f"{time.monotonic() - began_s:.2f} s"


def timed(what: str, act: Callable[[], object]) -> None:
    """Do something and say how long it took."""
    began_s = time.monotonic()
    act()
    print(f"{what}: {told(began_s)}", flush=True)


def visit(page: Any, url: str, pid: int, what: str) -> None:
    """Open the page and say when something is seen, and when it can be used."""
    cdp = page.context.new_cdp_session(page)
    cdp.send("Performance.enable")
    before_s, began_s = cpu_s(pid), time.monotonic()
    page.goto(url, wait_until="commit")
    page.wait_for_selector("#suggestions li")
    usable = told(began_s)
    paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime / 1000"
    page.wait_for_timeout(1500)
    print(f"{what}: first paint {page.evaluate(paint):.2f} s, usable {usable}, ", end="")
    metrics = {one["name"]: one["value"] for one in cdp.send("Performance.getMetrics")["metrics"]}
    print(f"page {metrics['ThreadTime']:.2f} s CPU, server {cpu_s(pid) - before_s:.2f} s CPU")


def weigh(page: Any) -> Callable[[], None]:
    """Counts what the page fetches from now on; call it for the sums."""
    cdp = page.context.new_cdp_session(page)
    cdp.send("Network.enable")
    kinds: dict[str, str] = {}
    sizes: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    cdp.on("Network.responseReceived", lambda one: kinds.update({one["requestId"]: one["type"]}))

    def add(event: dict[str, Any]) -> None:
        kind = kinds.get(event["requestId"], "Other")
        sizes[kind] += int(event["encodedDataLength"])
        counts[kind] += 1

    cdp.on("Network.loadingFinished", add)

    def say() -> None:
        total = sum(sizes.values())
        print(f"page weight: {total // 1000:,} KB in {sum(counts.values())} requests, ", end="")
        print(", ".join(f"{kind} {counts[kind]}: {n // 1000} KB" for kind, n in sizes.items()))

    return say


def chat(page: Any) -> None:
    """The first words of three sums, and how soon Esc stops a reply."""
    for text in SUMS:
        replies = page.locator(WORDS).count()
        page.locator("#prompt textarea").fill(text)
        began_s = time.monotonic()
        page.keyboard.press("Enter")
        written = f"""([seen]) => {{ const found = document.querySelectorAll({WORDS!r});
          const last = found[found.length - 1];
          return found.length > seen && !last.querySelector(".dots") && last.innerText.trim(); }}"""
        page.wait_for_function(written, arg=[replies], polling=10)
        print(f"Enter to first words: {told(began_s)}")
        page.wait_for_selector("#stop-button", state="detached")
    page.locator("#prompt textarea").fill("Sort " + ", ".join(str(n) for n in range(40, 0, -1)))
    page.keyboard.press("Enter")
    page.wait_for_selector("#stop-button")
    page.wait_for_timeout(300)
    page.keyboard.press("Escape")
    timed("stop by Esc", lambda: page.wait_for_selector("#stop-button", state="detached"))


def read(page: Any, folder: Path) -> None:
    """Six pages."""
    from PIL import Image

    from tests.app.screenshot import letter

    with Image.open(ROOT / "docs" / "sample.png") as sample:
        pages = [sample.convert("RGB")] * 6
    path = letter(folder)
    pages[0].save(path, save_all=True, append_images=pages[1:])
    page.evaluate("location.hash = 'documents'")
    with page.expect_file_chooser() as choosing:
        page.locator("#documents-files button").first.click()
    choosing.value.set_files(path)
    page.locator("#documents-files").get_by_text("note").first.wait_for()
    page.get_by_role("button", name="Read", exact=True).click()
    timed("reading 6 pages", lambda: page.get_by_role("button", name="Get Markdown").wait_for())


def main() -> None:
    """Print them."""
    from playwright.sync_api import sync_playwright

    outside, errors = Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        for model in ("nano", "nano-ocr"):
            process, url = started(model, folder)
            page = browser.new_page()
            page.set_default_timeout(120_000)
            page.on("request", lambda one: outside.update([] if is_local(one.url) else [one.url]))
            page.on("console", lambda one: errors.update([one.text] * (one.type == "error")))
            say = weigh(page)
            visit(page, url, process.pid, "cold")
            say()
            visit(page, f"{url}?again", process.pid, "again")
            chat(page) if model == "nano" else read(page, Path(folder))
            page.close()
            process.terminate()
            process.wait()
        browser.close()
    print(f"outside hosts: {sorted({urlsplit(url).netloc for url in outside}) or 'none'}")
    print(f"console errors: {dict(errors) or 'none'}")


if __name__ == "__main__":
    main()
