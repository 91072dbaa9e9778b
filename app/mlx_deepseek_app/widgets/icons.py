"""The icons of the page, one family: as masks for the style sheet, and as a piece of HTML."""

import json
from functools import cache
from pathlib import Path
from urllib.parse import quote

STATIC = Path(__file__).parents[1] / "static"
_PLAIN = " =:/'.,;()-"  # within double quotes
FRAME = (
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='none' stroke='black' "
    "stroke-width='1.8' stroke-linecap='round' stroke-linejoin='round'>{}</svg>"
)


@cache
def drawings() -> dict[str, str]:
    """The inside of each SVG by its name; see icons.license."""
    return json.loads((STATIC / "icons.json").read_text(encoding="utf-8"))


def data_url(svg: str) -> str:
    """An SVG as an address that holds it."""
    return f"data:image/svg+xml,{quote(svg, safe=_PLAIN)}"


def style() -> str:
    """A variable for each icon, and a rule for elements that name one: `data-icon=plus`."""
    urls = {name: f'url("{data_url(FRAME.format(inside))}")' for name, inside in drawings().items()}
    variables = "".join(f"--icon-{name}: {url};" for name, url in urls.items())
    rules = "".join(f"[data-icon={name}] {{ --icon: var(--icon-{name}); }}\n" for name in urls)
    return f":root {{ {variables} }}\n{rules}"


def icon(name: str) -> str:
    """A picture for the eye only, drawn in the colour of the text around it."""
    assert name in drawings(), name
    return f'<i data-icon="{name}" aria-hidden="true"></i>'
