"""The gallery below the drawing page: what was drawn, found again, and what can be done with it."""

from collections.abc import Sequence
from html import escape
from typing import Any

import gradio as gr

from mlx_deepseek_app.storage.database import StoreError
from mlx_deepseek_app.storage.drawings import Drawing, Drawings
from mlx_deepseek_app.widgets import status
from mlx_deepseek_app.widgets.event_options import QUIET

NOTHING = '<p class="none">Pictures that you draw are kept here.</p>'
NOT_FOUND = '<p class="none">No picture has these words.</p>'
Updates = dict[Any, Any]


class Gallery:
    """Components and handlers; `kept` owns pictures by what `owner_of` says of a tab."""

    def __init__(self, drawings: Drawings, owner_of: Any) -> None:
        self.drawings, self._owner_of = drawings, owner_of
        with gr.Column(elem_id="gallery", elem_classes="gallery"):
            self.query = gr.Textbox(
                label="Search the gallery",
                placeholder="Words of a prompt, or a model",
                max_length=200,
                elem_id="gallery-query",
            )
            self.none = gr.HTML(NOTHING, elem_id="gallery-none")
            self.shown = gr.Gallery(
                label="Gallery",
                show_label=False,
                elem_id="gallery-shown",
                columns=6,
                object_fit="contain",
                allow_preview=False,
                buttons=[],
                visible=False,
            )
            with gr.Column(visible=False, elem_id="gallery-chosen") as self.about:
                self.facts = gr.HTML()
                with gr.Row(elem_classes="see-take"):
                    self.copy = gr.Button("Copy settings", size="sm")
                    self.again = gr.Button("Draw again", size="sm")
                    self.vary = gr.Button("Vary the seed", size="sm")
                    self.ask = gr.Button("Ask about it", size="sm")
                    self.download = gr.DownloadButton("Download", size="sm")
                    self.delete = gr.Button("Delete", size="sm", variant="stop")
        self._keys, self.chosen = gr.State([]), gr.State("")
        self.listed = [self.none, self.shown, self._keys]
        self.detail = [self.about, self.facts, self.download, self.ask, self.chosen]
        gr.on([self.query.change], self.on_search, self.query, self.listed, **QUIET)
        self.shown.select(self.on_choose, self._keys, self.detail, **QUIET)
        gone = [*self.listed, *self.detail]
        self.delete.click(self.on_delete, [self.chosen, self.query], gone, **QUIET)

    def owner(self, request: gr.Request) -> str:
        """Whose pictures a tab sees."""
        return self._owner_of(request.session_hash or "")

    def on_search(self, request: gr.Request, query: str = "") -> Updates:
        """Show the pictures that a query finds."""
        try:
            found = self.drawings.entries(self.owner(request), query)
            files = [(self.drawings.file(one.id), caption(one)) for one in found]
        except StoreError as error:
            return {self.none: gr.HTML(status.failed(str(error)), visible=True)}
        there = [pair for pair in zip(found, files, strict=True) if pair[1][0]]
        return {
            self.none: gr.HTML(NOT_FOUND if query.strip() else NOTHING, visible=not there),
            self.shown: gr.Gallery(
                [file for _, file in there], visible=bool(there), selected_index=None
            ),
            self._keys: [one.id for one, _ in there],
        }

    def on_choose(self, request: gr.Request, event: gr.SelectData, keys: Sequence[str]) -> Updates:
        """Show what made a picture, and what can be done with it."""
        place = event.index if isinstance(event.index, int) else -1
        drawing = self.find(request, keys[place]) if 0 <= place < len(keys) else None
        if drawing is None:
            return self.nothing_chosen()
        return {
            self.about: gr.Column(visible=True),
            self.facts: facts_html(drawing),
            self.download: gr.DownloadButton(value=self.drawings.file(drawing.id)),
            self.chosen: drawing.id,
        }

    def on_delete(self, request: gr.Request, key: str, query: str) -> Updates:
        """Forget the chosen picture for good."""
        try:
            self.drawings.delete(self.owner(request), key)
        except StoreError as error:
            return {self.facts: status.failed(str(error))}
        return {**self.nothing_chosen(), **self.on_search(request, query)}

    def on_ask(self, key: str) -> Any:
        """The file of the chosen picture, for the page that answers questions."""
        return [self.drawings.file(key)] if key else gr.skip()

    def nothing_chosen(self) -> Updates:
        """Updates that hide what can be done with a picture."""
        return {self.about: gr.Column(visible=False), self.chosen: ""}

    def find(self, request: gr.Request, key: str) -> Drawing | None:
        """One of the tab's pictures; None where it is gone."""
        try:
            return self.drawings.find(self.owner(request), key)
        except StoreError:
            return None


def caption(drawing: Drawing) -> str:
    """A picture's prompt and seed."""
    return f"{drawing.origin.prompt} · {drawing.origin.seed}"


def facts_html(drawing: Drawing) -> str:
    """What made a picture, as a list of terms."""
    origin = drawing.origin
    rows = {
        "Prompt": origin.prompt,
        "Model": origin.model.rsplit("/", 1)[-1],
        "Recipe": origin.recipe,
        "Seed": origin.seed,
        "Guidance": origin.guidance,
        "Temperature": origin.temperature,
        "Steps": origin.steps,
        "Score": None if drawing.score is None else f"{drawing.score:.0%}",
    }
    terms = "".join(
        f"<dt>{name}</dt><dd>{escape(str(value))}</dd>"
        for name, value in rows.items()
        if value is not None
    )
    return f'<dl class="facts">{terms}</dl>'
