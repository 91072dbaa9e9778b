"""Where Mermaid is: gradio brings it along for its own Markdown, under a name that changes."""

from functools import cache
from pathlib import Path

import gradio


@cache
def script() -> str:
    """Its address on the app's server; "" where this gradio has none."""
    assets = Path(gradio.__file__).parent / "templates" / "frontend" / "assets"
    found = sorted(assets.glob("mermaid.core-*.js"))
    return f"assets/{found[0].name}" if found else ""
