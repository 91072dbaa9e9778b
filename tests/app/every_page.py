"""Pictures of every page to look at: `python tests/app/every_page.py FOLDER [--widths 390 1440]`.

Five widths, both themes, both languages; a scripted engine has all pages. Nothing is kept in docs/.
"""

import argparse
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WIDTHS = (390, 768, 1024, 1440, 2560)
HEIGHT = 900
ANSWER = """say: ## Two roots

For $ax^2 + bx + c = 0$:

$$x = \\frac{-b \\pm \\sqrt{b^2 - 4ac}}{2a}$$

```python
def roots(a, b, c):
    d = (b * b - 4 * a * c) ** 0.5
    return (-b + d) / (2 * a), (-b - d) / (2 * a)
```

| k | k² |
|---|---:|
| 1 | 1 |
| 2 | 4 |

- [x] **done**, see `roots`
- [ ] left"""


def pictures(browser: Any, url: str, folder: Path, widths: list[int]) -> None:
    """One file for each page, width, theme and language."""
    for language in ("en", "zh-CN"):
        for theme in ("light", "dark"):
            page = browser.new_page(color_scheme=theme, locale=language)
            page.set_default_timeout(120_000)
            page.set_viewport_size({"width": 1280, "height": HEIGHT})
            page.goto(url)
            page.wait_for_selector("#suggestions li")
            links = page.locator("#nav a")
            names = ["chat", *links.evaluate_all("all => all.map((one) => one.dataset.page)")]
            shots(page, folder, f"empty-{language}-{theme}", widths)
            page.locator("#prompt textarea").fill(ANSWER)
            page.keyboard.press("Enter")
            page.wait_for_selector("#stop-button")
            page.wait_for_selector("#stop-button", state="detached")
            for name in names:
                page.evaluate("(name) => { if (name !== 'chat') location.hash = name; }", name)
                page.wait_for_selector(f"#page-{name}", state="visible")
                if name == "internals":
                    page.locator("#inspect-go").click()
                shots(page, folder, f"{name}-{language}-{theme}", widths)
            page.evaluate("location.hash = 'chat'")
            page.locator("#settings-button").click()
            shots(page, folder, f"settings-{language}-{theme}", widths)
            page.close()


def shots(page: Any, folder: Path, name: str, widths: list[int]) -> None:
    """What the page shows at each width."""
    for width in widths:
        page.set_viewport_size({"width": width, "height": HEIGHT})
        page.wait_for_timeout(350)
        page.screenshot(path=folder / f"{name}-{width}.png")
    page.set_viewport_size({"width": 1280, "height": HEIGHT})


def main() -> None:
    """Take them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--widths", type=int, nargs="+", default=list(WIDTHS))
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    from playwright.sync_api import sync_playwright

    from mlx_deepseek_app.command import serve
    from tests.app import scripted
    from tests.app.conftest import chromium

    engine = scripted.load("painter")
    engine.fills, engine.modes = True, ("tiny", "base")
    engine.entry = SimpleNamespace(
        family="Prover", skills=("proofs",), sampling=None, params_total=0
    )
    served = serve(lambda source, **_: engine, "painter")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        pictures(browser, served.url, args.folder, args.widths)
        browser.close()
    served.close()


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "app"), str(ROOT / "convert")]
    main()
