"""How the page looks: theme, style sheet, script, and the headers that keep it to itself."""

import json
from pathlib import Path
from typing import Any

from gradio.themes import Base, Color
from starlette.middleware import Middleware

from mlx_deepseek_app.server.security import OnlyFromHere, names
from mlx_deepseek_app.widgets import diagrams, icons
from mlx_deepseek_app.widgets.identity import Identity

STATIC = Path(__file__).parents[1] / "static"
SHELL = ("words", "shell", "look")  # what the other scripts build on
SCRIPTS = ("page", "content", "drafts", "conversations", "list", "palette", "notices", "paste")
DRAWING = ("diagrams", "hood", "lean")
STYLES = ("style", "column", "list", "palette", "icons")
SANS = ["system-ui", "-apple-system", "Segoe UI", "Noto Sans", "PingFang SC"]
SANS += ["Noto Sans CJK SC", "Microsoft YaHei", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]
# 600 under white words and 400 on the dark page have more than 4.5 to 1
BLUE = Color(
    "#f0f3ff", "#e2e8ff", "#c9d3ff", "#a8b8ff", "#8299ff", "#5f7bff",
    "#3b57e0", "#3046b8", "#2a3c94", "#283876", "#182149", name="blue"
)  # fmt: skip


def theme() -> Base:
    """Neutral and flat, with the machine's own fonts: nothing is fetched."""
    plain = Base(
        primary_hue=BLUE,
        secondary_hue=BLUE,
        neutral_hue="zinc",
        font=SANS,  # type: ignore[arg-type]
        font_mono=MONO,  # type: ignore[arg-type]
    )
    return plain.set(**json.loads((STATIC / "theme.json").read_text()))


def chinese() -> str:
    """The dictionary of `words.js` as a script may hold it."""
    return (STATIC / "chinese.json").read_text(encoding="utf-8").replace("</", r"<\/")


def assets(host: str, share: bool) -> dict[str, Any]:
    """The arguments of `launch` that dress the page and keep it to itself."""
    script, style = (
        "\n".join((STATIC / f"{name}.{kind}").read_text(encoding="utf-8") for name in names)
        for kind, names in (
            ("js", (*SHELL, *SCRIPTS, *DRAWING)),
            ("css", (*STYLES, "composer", "chat", "content", "models", "see", "draw")),
        )
    )
    return {
        "theme": theme(),
        "css": icons.style() + style,
        "head": f"<script>window.chinese = {chinese()};\n"
        f'window.mermaidScript = "{diagrams.script()}";\n{script}</script>',
        "footer_links": [],
        "favicon_path": str(STATIC / "icon.svg"),
        "app_kwargs": {
            "middleware": [Middleware(OnlyFromHere, known=names(host, share)), Middleware(Identity)]
        },
    }
