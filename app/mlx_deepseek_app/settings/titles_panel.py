"""The switch for titles that the model writes."""

import gradio as gr

from mlx_deepseek_app.storage.database import StoreError
from mlx_deepseek_app.storage.options import TITLES, Options
from mlx_deepseek_app.storage.store import Store
from mlx_deepseek_app.widgets.event_options import AT_ONCE, owner


class TitlesPanel:
    """Its component."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.write = gr.Checkbox(
            True,
            label="Let the model write titles",
            info="After the first answers, while nothing is asked of it. Small models do not.",
            elem_id="write-titles",
        )
        self.write.input(self.on_choose, self.write, None, **AT_ONCE)

    def on_choose(self, request: gr.Request, on: bool) -> None:
        """Keep it."""
        try:
            Options(self._store, self._store.owner(owner(request))).choose(TITLES, on)
        except StoreError as error:
            gr.Warning(str(error))

    def on_open(self, request: gr.Request) -> bool:
        """What is kept, for a page that was just opened."""
        try:
            return Options(self._store, self._store.owner(owner(request))).on(TITLES)
        except StoreError:  # the list of conversations says so, too
            return True
