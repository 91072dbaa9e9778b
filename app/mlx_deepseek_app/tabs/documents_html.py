"""Pages of documents as the documents tab shows them. All text escaped."""

from html import escape
from pathlib import Path

from mlx_deepseek_app.tabs import documents_job
from mlx_deepseek_app.tabs.documents_job import DocumentJob, PageView
from mlx_deepseek_app.widgets import status
from mlx_deepseek_app.widgets.image_view import with_boxes
from mlx_deepseek_app.widgets.markdown import code_html
from mlx_deepseek_app.widgets.page_text import page_html

WRITTEN = "As written"  # the view that is not rendered


def state_html(reading: DocumentJob) -> str:
    """How far the reading is, and what could not be read."""
    pages, job = reading.ordered, reading.job
    done = sum(bool(page.finish) for page in pages)
    bad = [page for page in pages if page.error]
    errors = "".join(status.failed(f"{page_name(page)}: {page.error}") for page in bad)
    if job is None:
        return errors
    if job.error:
        return errors + status.failed(job.error)
    expected = sum({s.name: min(s.count, documents_job.PAGES_AT_MOST) for s in pages}.values())
    cut = sum({s.name: max(0, s.count - documents_job.PAGES_AT_MOST) for s in pages}.values())
    cost = f" · {spent(pages)}" if done else ""
    if not job.finished:
        return status.working(f"Reading · {done} of {expected or '?'} pages{cost}", done, expected)
    words = "Stopped" if job.cancelled else "Read"
    left = f" · {cut} pages beyond {documents_job.PAGES_AT_MOST} were left out" if cut else ""
    return errors + status.said(f"{words}: {done - len(bad)} of {expected} pages{cost}{left}")


def spent(pages: list[PageView]) -> str:
    """Text tokens beside vision tokens (arXiv:2510.18234 §4.1)."""
    vision = sum(page.cost.vision_tokens for page in pages if page.finish)
    text = sum(page.cost.text_tokens for page in pages)
    ratio = f" ({text / vision:.1f} for each)" if vision else ""
    return f"{text:,} text tokens from {vision:,} vision tokens{ratio}"


def page_name(page: PageView) -> str:
    """A page for the eye."""
    name = Path(page.name).name
    return f"{name}, page {page.number} of {page.count}" if page.count else name


def label_html(pages: list[PageView], page: PageView) -> str:
    """Which page is shown."""
    state = {"": "reading", "length": "cut off", "error": "not read"}.get(page.finish, "")
    extra = f" · {state}" if state else ""
    place = f"{pages.index(page) + 1} / {len(pages)}"
    return f'<p role="status"><b>{place}</b> {escape(page_name(page))}{extra}</p>'


def strip_html(pages: list[PageView], at: int) -> str:
    """All pages, small; `at` is the one that is shown."""
    items = "".join(
        f'<li><button type="button" data-page="{index}" data-finish="{page.finish}" '
        f'aria-label="{escape(page_name(page))}"{" aria-current=page" if index == at else ""}>'
        f'<img alt="" src="{page.thumb}"><span>{page.number}</span></button></li>'
        for index, page in enumerate(pages)
    )
    return f'<ol aria-label="Pages of the documents">{items}</ol>'


def picture_html(page: PageView) -> str:
    """The page's picture with boxes."""
    if page.picture is None:
        return status.failed(page.error or "This page has no picture.")
    return with_boxes(page.picture, page.blocks, page_name(page))


def page_text(page: PageView, view: str) -> str:
    """The page's text as Markdown that does nothing."""
    text = "\n\n".join(block.words for block in page.blocks if block.words)
    if view == WRITTEN:
        return code_html(page.answer) if page.answer else ""
    return page_html(text)
