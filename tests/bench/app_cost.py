"""What a long conversation costs the browser and the network: opening it, and each token in it.

    python tests/bench/app_cost.py [--messages 0 200 500] [--kinds plain rich] [--tokens 400]

Main-thread time is `ThreadTime` of Chromium's Performance.getMetrics, in CPU seconds; bytes are
those that arrived while the tokens did. The engine writes 100 tokens of four letters a second, so
that a page that keeps up takes `tokens` / 100 seconds.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from mlx_deepseek_app.command import serve  # noqa: E402
from mlx_deepseek_app.conversation.conversation import Conversation  # noqa: E402
from mlx_deepseek_app.conversation.settings import PanelSettings  # noqa: E402
from mlx_deepseek_app.storage.conversations import SavedConversation, conversations_of  # noqa: E402
from mlx_deepseek_app.storage.store import Store  # noqa: E402
from tests.app import scripted  # noqa: E402
from tests.app.conftest import chromium  # noqa: E402

TOKENS_PER_S, LETTERS = 100, 4
PLAIN = "The sum of both numbers is easy to find: add the ones, carry, and add the tens. " * 3
RICH = r"""## Step {n}

For $a_{n} \neq 0$ the roots are \(x = \frac{{-b \pm \sqrt{{b^2 - 4ac}}}}{{2a}}\), so

$$\sum_{{k=1}}^{{{n}}} k^2 = \frac{{n(n+1)(2n+1)}}{{6}}$$

```python
def roots(a: float, b: float, c: float) -> tuple[float, float]:
    d = (b * b - 4 * a * c) ** 0.5
    return (-b + d) / (2 * a), (-b - d) / (2 * a)
```

| k | k² | sum |
|---|---:|---:|
| 1 | 1 | 1 |
| 2 | 4 | 5 |

- [x] **done**, see `roots`
- [ ] left, and $y_{n}$
"""


class Writer(scripted.ScriptedEngine):
    """Writes as many tokens as it is asked for, at an even pace, or what stands in `text`."""

    def _written(self, messages: list[dict[str, Any]], **options: Any) -> Iterator[scripted.Chunk]:
        count = int(messages[-1]["content"])
        text = (PLAIN * (1 + count * LETTERS // len(PLAIN)))[: count * LETTERS]
        begin_s = time.monotonic()
        for made in range(count):
            time.sleep(max(0.0, begin_s + made / TOKENS_PER_S - time.monotonic()))
            piece = text[made * LETTERS : (made + 1) * LETTERS]
            yield scripted.Chunk(text=piece, usage=self._usage(made + 1))
        yield scripted.Chunk(usage=self._usage(count), finish_reason="stop")


@dataclass
class Meter:
    """What the page has used since it was asked last."""

    page: Any
    received: int = 0

    def __post_init__(self) -> None:
        self.cdp = self.page.context.new_cdp_session(self.page)
        self.cdp.send("Performance.enable")
        self.cdp.send("Network.enable")
        self.cdp.on("Network.dataReceived", self._take)
        self.last: dict[str, float] = {}
        self.since()

    def _take(self, event: dict[str, Any]) -> None:
        self.received += event["dataLength"]

    def since(self) -> tuple[float, int, int]:
        """Seconds of the main thread and bytes since the last time, and the number of nodes."""
        told = self.cdp.send("Performance.getMetrics")["metrics"]
        now = {one["name"]: one["value"] for one in told}
        spent = now["ThreadTime"] - self.last.get("ThreadTime", 0.0)
        got, self.received, self.last = self.received, 0, now
        return spent, got, int(now["Nodes"])


def talk(kind: str, messages: int) -> Conversation:
    """A conversation of so many messages."""
    made = Conversation()
    for number in range(messages // 2):
        text = RICH.format(n=number) if kind == "rich" else PLAIN
        made = made.ask(f"question {number}").write([(0.1, scripted.Chunk(text=text))]).finish()
    return made


def measure(page: Any, title: str, messages: int, tokens: int) -> str:
    """A line of the table."""
    meter = Meter(page)
    opened = (0.0, 0, 0)
    if messages:
        page.locator("#conversations").get_by_role("button", name=title, exact=True).click()
        page.locator("#chat [data-testid=user]").last.wait_for()
        page.wait_for_timeout(3000)
        opened = meter.since()
    page.locator("#prompt textarea").fill(str(tokens))
    page.wait_for_timeout(500)
    meter.since()
    began_s, cpu_s = time.monotonic(), time.process_time()
    page.keyboard.press("Enter")
    page.wait_for_selector("#stop-button")
    page.wait_for_selector("#stop-button", state="detached", timeout=300_000)
    took_s, cpu_s = time.monotonic() - began_s, time.process_time() - cpu_s
    spent, got, _ = meter.since()
    return (
        f"{title:>12} {opened[0]:9.2f} {opened[2]:8,} {1000 * spent / tokens:9.2f} "
        f"{got / tokens:9,.0f} {took_s:7.1f} {1000 * cpu_s / tokens:9.2f}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--messages", type=int, nargs="+", default=[0, 200, 500])
    parser.add_argument("--kinds", nargs="+", default=["plain", "rich"])
    parser.add_argument("--tokens", type=int, default=400)
    args = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        store = Store(Path(folder))
        sizes = [(kind, n) for kind in args.kinds for n in args.messages if n or kind == "plain"]
        for kind, count in sizes:
            if count:
                saved = SavedConversation(
                    talk(kind, count), PanelSettings(), "scripted", f"{count} {kind}"
                )
                conversations_of(store, "").add(saved)
        store.close()
        engine = Writer(context_length=1 << 20)
        served = serve(lambda source, **_: engine, "scripted", data=Path(folder))
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        print("conversation   opening s    nodes  ms/token bytes/tok  wall s server ms")
        for kind, count in sizes:
            page = browser.new_page()
            page.set_default_timeout(120_000)
            page.goto(served.url)
            page.wait_for_selector("#suggestions li")
            page.wait_for_timeout(2000)
            print(measure(page, f"{count} {kind}", count, args.tokens), flush=True)
            page.close()
        browser.close()
        served.close()


if __name__ == "__main__":
    main()
