"""What was read of a page as HTML: Markdown in which tables may be HTML."""

import re
from html.parser import HTMLParser

from mlx_deepseek_app.widgets.markdown import escaped, model_html

TABLE = re.compile(r"<table\b.*?</table>", re.DOTALL | re.IGNORECASE)
SPAN_AT_MOST = 100
SPANS = ("rowspan", "colspan")


def page_html(text: str) -> str:
    """What was read of a page: Markdown in which tables may be HTML."""
    parts, end = [], 0
    for found in TABLE.finditer(text):
        parts += [model_html(text[end : found.start()].strip()), rebuilt(found.group())]
        end = found.end()
    return "\n\n".join([*parts, model_html(text[end:].strip())]).strip()


def rebuilt(table: str) -> str:
    """A table with the same cells, on one line."""
    cells = _Cells()
    cells.feed(table)
    cells.close()
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in cells.rows if row)
    return f"<table>{rows}</table>"


class _Cells(HTMLParser):
    """Rows of (tag, its spans, its words)."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[tuple[str, str, list[str]]]] = [[]]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            spans = "".join(
                f' {name}="{min(int(value), SPAN_AT_MOST)}"'
                for name, value in attrs
                if name in SPANS and value and value.isascii() and value.isdecimal()
            )
            self.rows[-1].append((tag, spans, []))

    def handle_data(self, data: str) -> None:
        if self.rows[-1]:
            self.rows[-1][-1][2].append(data)


def _cell(cell: tuple[str, str, list[str]]) -> str:
    tag, spans, words = cell
    text = " ".join("".join(words).split())
    return f"<{tag}{spans}>{escaped(text)}</{tag}>"
