"""How the page looks: theme, style sheet, script, and the headers that keep it to itself."""

from pathlib import Path
from typing import Any

from gradio.themes import Base
from starlette.middleware import Middleware

from mlx_deepseek_app.policy import OnlyFromHere

HERE = Path(__file__).parent
SANS = ["system-ui", "-apple-system", "Segoe UI", "Noto Sans", "PingFang SC"]
SANS += ["Noto Sans CJK SC", "Microsoft YaHei", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]


def theme() -> Base:
    """Neutral, with the machine's own fonts: nothing is fetched."""
    plain = Base(
        primary_hue="indigo",
        neutral_hue="zinc",
        font=SANS,  # type: ignore[arg-type]
        font_mono=MONO,  # type: ignore[arg-type]
    )
    return plain.set(  # the default grey is too pale to read
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
    )


def chinese() -> str:
    """The dictionary of `words.js` as a script may hold it."""
    return (HERE / "chinese.json").read_text(encoding="utf-8").replace("</", r"<\/")


def assets() -> dict[str, Any]:
    """The arguments of `launch` that dress the page: theme, style sheet, script."""
    script, style = (
        "\n".join((HERE / f"{name}.{kind}").read_text(encoding="utf-8") for name in names)
        for kind, names in (
            ("js", ("page", "words", "conversations", "see")),
            ("css", ("style", "conversations", "see")),
        )
    )
    return {
        "theme": theme(),
        "css": style,
        "head": f"<script>window.chinese = {chinese()};\n{script}</script>",
        "footer_links": [],
        "app_kwargs": {"middleware": [Middleware(OnlyFromHere)]},
    }
