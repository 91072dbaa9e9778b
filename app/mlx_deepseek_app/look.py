"""How the page looks: theme, style sheet, script, and the headers that keep it to itself."""

from pathlib import Path
from typing import Any

from gradio.themes import Base, Color
from starlette.middleware import Middleware

from mlx_deepseek_app.policy import OnlyFromHere

HERE = Path(__file__).parent
SANS = ["system-ui", "-apple-system", "Segoe UI", "Noto Sans", "PingFang SC"]
SANS += ["Noto Sans CJK SC", "Microsoft YaHei", "sans-serif"]
MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]
# 600 under white words and 400 on the dark page have more than 4.5 to 1
BLUE = Color(
    "#f0f3ff", "#e2e8ff", "#c9d3ff", "#a8b8ff", "#8299ff", "#5f7bff",
    "#3b57e0", "#3046b8", "#2a3c94", "#283876", "#182149", name="blue",
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
    return plain.set(**_colours(), **_blocks(), **_fields(), **_buttons())


def _colours() -> dict[str, str]:
    return {
        "background_fill_primary_dark": "*neutral_900",
        "background_fill_secondary_dark": "#111113",
        "body_text_color_subdued": "#62626b",  # 4.5 to 1 on washes, too
        "body_text_color_subdued_dark": "*neutral_400",
        "border_color_primary_dark": "#323236",
        "color_accent": "*primary_600",
        "link_text_color": "*primary_600",
        "link_text_color_dark": "*primary_400",
        "link_text_color_visited": "*primary_600",
        "link_text_color_visited_dark": "*primary_400",
    }


def _blocks() -> dict[str, str]:
    """No frames within frames: a field is its label and what is typed."""
    return {
        "block_background_fill": "transparent",
        "block_background_fill_dark": "transparent",
        "block_border_width": "0px",
        "block_padding": "0px",
        "block_radius": "8px",
        "block_info_text_size": "12.5px",
        "block_label_background_fill": "transparent",
        "block_label_background_fill_dark": "transparent",
        "block_label_border_width": "0px",
        "block_label_text_color": "*body_text_color",
        "block_label_text_color_dark": "*body_text_color",
        "block_title_text_color": "*body_text_color",
        "block_title_text_color_dark": "*body_text_color",
        "block_title_text_size": "13px",
        "block_title_text_weight": "500",
        "layout_gap": "12px",
    }


def _fields() -> dict[str, str]:
    return {
        "input_background_fill": "*background_fill_primary",
        "input_background_fill_dark": "#212124",
        "input_border_color": "*neutral_300",
        "input_border_color_dark": "#3f3f46",
        "input_border_color_focus": "*color_accent",
        "input_border_color_focus_dark": "*color_accent",
        "input_border_width": "1px",
        "input_padding": "7px 11px",
        "input_placeholder_color": "*body_text_color_subdued",
        "input_placeholder_color_dark": "*body_text_color_subdued",
        "input_radius": "8px",
        "checkbox_background_color_selected_dark": "*primary_600",
        "checkbox_border_color": "*neutral_500",
        "checkbox_border_color_dark": "*neutral_500",
        "checkbox_border_color_selected_dark": "*primary_600",
        "checkbox_label_background_fill": "transparent",
        "checkbox_label_background_fill_dark": "transparent",
    }


def _buttons() -> dict[str, str]:
    sizes = {
        f"button_{size}_{name}": value
        for size in ("large", "medium", "small")
        for name, value in (
            ("padding", "0 14px"),
            ("radius", "8px"),
            ("text_size", "14px"),
            ("text_weight", "500"),
        )
    }
    return sizes | {
        "button_border_width": "1px",
        "button_primary_background_fill": "*primary_600",
        "button_primary_background_fill_hover": "*primary_700",
        "button_primary_border_color": "*primary_600",
        "button_primary_border_color_hover": "*primary_700",
        "button_secondary_background_fill": "*background_fill_primary",
        "button_secondary_background_fill_dark": "*background_fill_primary",
        "button_secondary_background_fill_hover": "*neutral_100",
        "button_secondary_background_fill_hover_dark": "*neutral_800",
        "button_secondary_border_color": "*neutral_300",
        "button_secondary_border_color_dark": "#3f3f46",
        "button_secondary_border_color_hover": "*neutral_300",
        "button_secondary_border_color_hover_dark": "#3f3f46",
        "button_secondary_text_color": "*body_text_color",
        "button_secondary_text_color_dark": "*body_text_color",
    }


def chinese() -> str:
    """The dictionary of `words.js` as a script may hold it."""
    return (HERE / "chinese.json").read_text(encoding="utf-8").replace("</", r"<\/")


def assets() -> dict[str, Any]:
    """The arguments of `launch` that dress the page: theme, style sheet, script."""
    script, style = (
        "\n".join((HERE / f"{name}.{kind}").read_text(encoding="utf-8") for name in names)
        for kind, names in (
            ("js", ("page", "words", "conversations", "see")),
            ("css", ("style", "icons", "chat", "conversations", "models", "see")),
        )
    )
    return {
        "theme": theme(),
        "css": style,
        "head": f"<script>window.chinese = {chinese()};\n{script}</script>",
        "footer_links": [],
        "app_kwargs": {"middleware": [Middleware(OnlyFromHere)]},
    }
