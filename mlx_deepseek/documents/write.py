"""A document's folder: page by page while it is read, then the whole.

document.md, document.json and annotated.pdf join the pages' page-0001.md, .json and .jpg; figures
are under figures/. Links are relative to this folder, in pages and in the whole.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlx_deepseek.documents.annotate import annotate, figures
from mlx_deepseek.documents.annotated_pdf import write_picture_pdf
from mlx_deepseek.documents.job_folder import (
    JobRecord,
    folder_for,
    put,
    put_json,
    put_text,
    read_json,
)
from mlx_deepseek.documents.markdown import page_markdown, unread
from mlx_deepseek.documents.read import ReadPage

PAGE_MARK = "<!-- page {} -->\n\n"
JPEG = {"format": "JPEG", "quality": 90}
ANNOTATED_DPI = 144


class DocumentFolder:
    """What is written of one document; `path` is the folder."""

    def __init__(self, root: Path, job: JobRecord):
        """Find the job's folder under `root`, or make it.

        Raises:
            DeepSeekError: it cannot be written.
        """
        self.path = folder_for(root, job)
        self.job = job
        self.errors: dict[int, str] = {}
        self.count = 0

    def is_done(self, number: int) -> bool:
        """Whether an earlier run has read this page to its end."""
        return self._page(number) is not None

    def add(self, page: ReadPage) -> None:
        """Write a page that is finished; one that could not be read is noted for `finish`.

        Raises:
            DeepSeekError: it cannot be written.
        """
        self.count = max(self.count, page.count)
        if page.error:
            self.errors[page.number] = page.error
            return
        self.errors.pop(page.number, None)
        links = self._write_figures(page)
        assert page.picture is not None
        annotated = annotate(page.picture, page.blocks)
        put(self._file(page.number, "jpg"), lambda file: annotated.save(file, **JPEG))
        put_text(self._file(page.number, "md"), page_markdown(page, links))
        put_json(self._file(page.number, "json"), page_json(page, links))

    def finish(self) -> dict[str, Any]:
        """Join the pages; what document.json says.

        Raises:
            DeepSeekError: it cannot be written.
        """
        numbers = sorted(self._done() | self.errors.keys())
        pages = [self._page(number) or self._failed(number) for number in numbers]
        whole = {
            "source": self.job.source,
            "model": self.job.model,
            "prompt": self.job.prompt,
            "mode": self.job.mode,
            "count": self.count or len(self._done()),
            "pages": pages,
        }
        put(self.path / "document.md", lambda file: file.writelines(self._markdown(numbers)))
        annotated = [self._file(number, "jpg") for number in sorted(self._done())]
        if annotated:
            put(
                self.path / "annotated.pdf",
                lambda file: write_picture_pdf(file, annotated, ANNOTATED_DPI),
            )
        put_json(self.path / "document.json", whole)
        return whole

    def _markdown(self, numbers: list[int]) -> Iterator[bytes]:
        for number in numbers:
            if len(numbers) > 1:
                yield PAGE_MARK.format(number).encode()
            yield self._text(number).encode("utf-8", "replace") + b"\n"

    def _text(self, number: int) -> str:
        if number in self.errors:
            return unread(number, self.errors[number])
        return self._file(number, "md").read_text(encoding="utf-8")

    def _failed(self, number: int) -> dict[str, Any]:
        return {"page": number, "finish": "error", "error": self.errors[number]}

    def _write_figures(self, page: ReadPage) -> dict[int, list[str]]:
        """Cut out the figures; their links by block."""
        links: dict[int, list[str]] = {}
        total = 0
        for place, block in enumerate(page.blocks):
            for figure in figures(page.picture, block) if page.picture is not None else ():
                total += 1
                link = f"figures/page-{page.number:04}-{total}.jpg"
                put(self.path / link, lambda file, figure=figure: figure.save(file, **JPEG))
                links.setdefault(place, []).append(link)
        return links

    def _done(self) -> set[int]:
        """Pages that this or an earlier run has read."""
        numbers = [file.stem.removeprefix("page-") for file in self.path.glob("page-*.json")]
        return {
            int(number) for number in numbers if number.isdecimal() and self.is_done(int(number))
        }

    def _page(self, number: int) -> dict[str, Any] | None:
        """What was written of a page; None unless all its files are there."""
        content = read_json(self._file(number, "json"))
        if not isinstance(content, dict) or content.get("page") != number:
            return None
        whole = all(self._file(number, ending).is_file() for ending in ("md", "jpg"))
        return content if whole else None

    def _file(self, number: int, ending: str) -> Path:
        return self.path / f"page-{number:04}.{ending}"


def page_json(page: ReadPage, links: dict[int, list[str]]) -> dict[str, Any]:
    """A page for programs: boxes are left, top, right, bottom in pixels of the picture."""
    width, height = page.picture.size if page.picture is not None else (0, 0)
    return {
        "page": page.number,
        "pages": page.count,
        "width": width,
        "height": height,
        "finish": page.finish,
        "vision_tokens": page.cost.vision_tokens,
        "text_tokens": page.cost.text_tokens,
        "completion_tokens": page.cost.completion_tokens,
        "compression": round(page.cost.compression, 2),
        "blocks": [
            {
                "label": block.label,
                "boxes": [list(box) for box in block.boxes],
                "text": block.text,
                **({"figures": links[place]} if place in links else {}),
            }
            for place, block in enumerate(page.blocks)
        ],
        "answer": page.answer,
    }
