"""Options that events and texts of the page have in common."""

from typing import Any

import gradio as gr

# nothing is told how far they are: gradio looks at all that is told with each update of any event
QUIET: dict[str, Any] = {
    "show_progress": "hidden",
    "show_progress_on": [],
    "api_visibility": "private",
}
# generators that only wait: their number is not limited, the service queues the work itself
FREE: dict[str, Any] = {**QUIET, "concurrency_limit": None}
AT_ONCE: dict[str, Any] = {**QUIET, "queue": False}
# of what can be removed one by one; gradio looks in the script for the names of events, quoted
REMOVE_SCRIPT = "content.chips(element, { remove: (data) => trigger('remove', data) });"


def owner(request: gr.Request) -> str:
    """What names a tab."""
    return request.session_hash or ""
