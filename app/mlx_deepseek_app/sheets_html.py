"""Pages of documents as the page of documents shows them. All text escaped."""

from html import escape
from pathlib import Path

from mlx_deepseek_app import desk, status
from mlx_deepseek_app.desk import Reading, Sheet
from mlx_deepseek_app.host import Host
from mlx_deepseek_app.seen import with_boxes
from mlx_deepseek_app.tables import page_markdown

WRITTEN = "As written"  # the view that is not rendered


def state_html(host: Host, reading: Reading) -> str:
    """How far the reading is, and what could not be read."""
    sheets, job = reading.ordered, reading.job
    done = sum(bool(sheet.finish) for sheet in sheets)
    bad = [sheet for sheet in sheets if sheet.error]
    errors = "".join(status.failed(f"{page_name(sheet)}: {sheet.error}") for sheet in bad)
    if job is None:
        return errors
    if job.error:
        return errors + status.failed(job.error)
    expected = sum({s.name: min(s.count, desk.PAGES_AT_MOST) for s in sheets}.values())
    cut = sum({s.name: max(0, s.count - desk.PAGES_AT_MOST) for s in sheets}.values())
    cost = f" · {spent(sheets)}" if done else ""
    if not job.finished:
        ahead = host.replies.ahead(job)
        words = f"Waiting: {ahead} ahead" if ahead and not job.started else "Reading"
        return status.working(f"{words} · {done} of {expected or '?'} pages{cost}", done, expected)
    words = "Stopped" if job.cancelled else "Read"
    left = f" · {cut} pages beyond {desk.PAGES_AT_MOST} were left out" if cut else ""
    return errors + status.said(f"{words}: {done - len(bad)} of {expected} pages{cost}{left}")


def spent(sheets: list[Sheet]) -> str:
    """Text tokens beside vision tokens (arXiv:2510.18234 §4.1)."""
    vision = sum(sheet.cost.vision_tokens for sheet in sheets if sheet.finish)
    text = sum(sheet.cost.text_tokens for sheet in sheets)
    ratio = f" ({text / vision:.1f} for each)" if vision else ""
    return f"{text:,} text tokens from {vision:,} vision tokens{ratio}"


def page_name(sheet: Sheet) -> str:
    """A page for the eye."""
    name = Path(sheet.name).name
    return f"{name}, page {sheet.number} of {sheet.count}" if sheet.count else name


def label_html(sheets: list[Sheet], sheet: Sheet) -> str:
    """Which page is shown."""
    state = {"": "reading", "length": "cut off", "error": "not read"}.get(sheet.finish, "")
    extra = f" · {state}" if state else ""
    place = f"{sheets.index(sheet) + 1} / {len(sheets)}"
    return f'<p role="status"><b>{place}</b> {escape(page_name(sheet))}{extra}</p>'


def page_html(sheet: Sheet) -> str:
    """The page's picture with boxes."""
    if sheet.picture is None:
        return status.failed(sheet.error or "This page has no picture.")
    return with_boxes(sheet.picture, sheet.blocks, page_name(sheet))


def page_text(sheet: Sheet, view: str) -> str:
    """The page's text as Markdown that does nothing."""
    text = "\n\n".join(block.words for block in sheet.blocks if block.words)
    if view == WRITTEN:
        longest = max((len(run) for run in sheet.answer.split() if set(run) == {"`"}), default=0)
        fence = "`" * max(3, longest + 1)
        return f"{fence}text\n{sheet.answer}\n{fence}" if sheet.answer else ""
    return page_markdown(text)
