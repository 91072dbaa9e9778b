"""Retake docs/screenshot.png, nano with its thinking unfolded: `python tests/app/screenshot.py`."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "docs" / "screenshot.png"
LIMIT_BYTES = 300_000
QUESTION = "What is 347 + 586?"


def main() -> int:
    """Write the picture; 1 if the answer is wrong or the file too large."""
    from playwright.sync_api import sync_playwright

    from mlx_deepseek import load
    from mlx_deepseek_app.command import serve
    from tests.app.conftest import chromium

    served = serve(load, "nano")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        page = browser.new_page(
            viewport={"width": 1120, "height": 560}, color_scheme="light", device_scale_factor=2
        )
        page.goto(served.url)
        page.get_by_text(QUESTION).click()
        page.wait_for_selector("#stop-button", state="detached")
        page.locator("#chat .thought-group [role=button]").click()
        page.locator("#prompt textarea").hover()
        page.wait_for_timeout(500)
        shown = page.locator("#chat").inner_text()
        TARGET.parent.mkdir(exist_ok=True)
        page.screenshot(path=TARGET)
        browser.close()
    served.close()
    size_bytes = TARGET.stat().st_size
    print(f"{TARGET.relative_to(ROOT)}: {size_bytes:,} bytes; the answer reads:\n{shown}")
    return 0 if "933" in shown and size_bytes <= LIMIT_BYTES else 1


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "app"), str(ROOT / "convert")]
    sys.exit(main())
