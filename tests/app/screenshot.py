"""Retake the pictures of the app under docs/: `python tests/app/screenshot.py`.

nano and nano-ocr answer for themselves; nothing in the pictures is made up. Each sheet has a page
in the light theme above the dark one, on a desk and on a phone.
"""

import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
COLOURS = 160
LIMIT_BYTES = 220_000
QUESTION = "What is 347 + 586?"
WIDE, NARROW = (1120, 700), (360, 700)
SCALE = 1.25
GAP, GROUND = 20, "#d9d9df"  # between the pictures of a sheet

Scene = Callable[[Any], None]


def chat(page: Any) -> None:
    """nano adds, its thinking unfolded."""
    page.locator("#suggestions").get_by_text(QUESTION).click()
    page.locator("#chat [data-testid=bot]").get_by_text("933").wait_for()
    page.wait_for_selector("#stop-button", state="detached")
    page.wait_for_timeout(500)  # the thinking folds
    page.locator("#chat .thought-group [role=button]").click()
    page.locator("#prompt textarea").hover()


def models(page: Any) -> None:
    """What there is and what fits."""
    page.locator("#nav").get_by_role("link", name="Models").click()
    page.locator("#models .card").first.wait_for()


def compare(page: Any) -> None:
    """nano beside itself at another temperature."""
    page.locator("#nav").get_by_role("link", name="Compare").click()
    page.get_by_label("Prompt for both").fill("Sort 42, 7, 93, 18.")
    page.locator("#compare-right").get_by_role("spinbutton").fill("1")
    page.get_by_role("button", name="Compare").click()
    page.locator("#compare-right").get_by_text("tokens/s").wait_for()
    page.get_by_role("button", name="Compare").wait_for()


def internals(page: Any) -> None:
    """nano's experts."""
    page.locator("#nav").get_by_role("link", name="Under the hood").click()
    page.get_by_role("button", name="Look").click()
    page.get_by_text("Sparse attention").wait_for()


def documents(page: Any) -> None:
    """nano-ocr reads two pages."""
    with tempfile.TemporaryDirectory() as folder:
        page.locator("#nav").get_by_role("link", name="Documents").click()
        with page.expect_file_chooser() as choosing:
            page.locator("#documents-files button").first.click()
        choosing.value.set_files(letter(Path(folder)))
        page.locator("#documents-files").get_by_text("note").first.wait_for()
        page.get_by_role("button", name="Read", exact=True).click()
        page.get_by_role("button", name="Get Markdown").wait_for()


def letter(folder: Path) -> Path:
    """A PDF of two short pages that the tiny model was made for."""
    from PIL import Image, ImageDraw

    from mlx_deepseek.nano.ocr.config import VIEW_PX
    from mlx_deepseek.nano.ocr.pictures import fonts, load

    pages = []
    for words in ("Total 42", "Monday, 9:30"):
        picture = Image.new("RGB", (VIEW_PX * 4, VIEW_PX * 4), "white")
        ImageDraw.Draw(picture).text((24, 330), words, "black", load(fonts()[0], 100))
        pages.append(picture)
    pages[0].save(folder / "note.pdf", save_all=True, append_images=pages[1:])
    return folder / "note.pdf"


SHEETS: dict[str, tuple[str, Scene]] = {
    "app-chat": ("nano", chat),
    "app-documents": ("nano-ocr", documents),
    "app-models": ("nano", models),
    "app-compare": ("nano", compare),
    "app-internals": ("nano", internals),
}


def main() -> int:
    """Write the pictures; 1 if one is too large."""
    from playwright.sync_api import sync_playwright

    from mlx_deepseek import load
    from mlx_deepseek_app.command import serve
    from tests.app.conftest import chromium

    sites = {name: serve(load, name) for name in ("nano", "nano-ocr")}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        for name, (model, scene) in SHEETS.items():
            light, dark = (taken(browser, sites[model].url, it, scene) for it in ("light", "dark"))
            sheet([light, dark]).save(DOCS / f"{name}.png")
            if scene is chat:
                light[0].save(DOCS / "screenshot.png")
        browser.close()
    for site in sites.values():
        site.close()
    sizes = {name: shrink(DOCS / f"{name}.png") for name in ("screenshot", *SHEETS)}
    print("\n".join(f"docs/{name}.png: {size:,} bytes" for name, size in sizes.items()))
    return 0 if max(sizes.values()) <= LIMIT_BYTES else 1


def taken(browser: Any, url: str, scheme: str, scene: Scene) -> list[Any]:
    """A scene on a desk and on a phone."""
    from PIL import Image

    page = browser.new_page(
        viewport=dict(zip(("width", "height"), WIDE, strict=True)),
        color_scheme=scheme,
        device_scale_factor=SCALE,
    )
    page.set_default_timeout(120_000)  # on a busy machine, too
    page.goto(url, wait_until="commit")
    page.wait_for_selector("#suggestions li")
    scene(page)
    pictures = []
    for width, height in (WIDE, NARROW):
        page.set_viewport_size({"width": width, "height": height})
        page.mouse.move(1, 1)
        page.wait_for_timeout(600)
        pictures.append(Image.open(io.BytesIO(page.screenshot())))
    page.close()
    return pictures


def sheet(rows: list[list[Any]]) -> Any:
    """Pictures side by side, row below row."""
    from PIL import Image

    width = sum(picture.width + GAP for picture in rows[0]) + GAP
    height = sum(row[0].height + GAP for row in rows) + GAP
    ground = Image.new("RGB", (width, height), GROUND)
    y = GAP
    for row in rows:
        x = GAP
        for picture in row:
            ground.paste(picture, (x, y))
            x += picture.width + GAP
        y += row[0].height + GAP
    return ground


def shrink(path: Path) -> int:
    """Fewer colours; the file's size in bytes."""
    from PIL import Image

    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    small.save(path, optimize=True)
    return path.stat().st_size


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "app"), str(ROOT / "convert")]
    sys.exit(main())
