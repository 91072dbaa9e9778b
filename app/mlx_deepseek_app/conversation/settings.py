"""The settings of one conversation."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

Overflow = Literal["oldest", "middle", "stop"]
LARGEST_SEED = 2**63 - 1
STOPS_AT_MOST = 16


@dataclass(frozen=True)
class PanelSettings:
    """What the settings panel holds; None means the model's recommended value.

    `overflow` is what becomes of a conversation that no longer fits the window: its "oldest" turns
    are not sent, its "middle" is not, or it has to "stop". With `json_answer` replies are JSON, of
    the `schema` if there is one; `tools` is a JSON list. An answer ends before a word of `stop`.
    With `use_tools` the app's tools are offered, too.
    """

    system: str = ""
    thinking: bool | None = None
    temperature: Annotated[float, Ge(0), Le(2)] | None = None
    top_p: Annotated[float, Ge(0.05), Le(1)] | None = None
    top_k: Annotated[int, Ge(0), Le(200)] = 0
    max_tokens: Annotated[int, Ge(1), Le(2**31)] | None = None
    seed: Annotated[int, Ge(0), Le(LARGEST_SEED)] | None = None
    json_answer: bool = False
    schema: str = ""
    tools: str = ""
    effort: str = ""
    min_p: Annotated[float, Ge(0), Le(1)] = 0.0
    repetition_penalty: Annotated[float, Ge(1), Le(2)] = 1.0
    presence_penalty: Annotated[float, Ge(-2), Le(2)] = 0.0
    frequency_penalty: Annotated[float, Ge(-2), Le(2)] = 0.0
    stop: tuple[str, ...] = ()
    use_tools: bool = False
    overflow: Overflow = "oldest"

    def __post_init__(self) -> None:
        object.__setattr__(self, "stop", tuple(self.stop))  # JSON has lists
