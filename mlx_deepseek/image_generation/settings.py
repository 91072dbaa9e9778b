"""How pictures are drawn: what may be chosen, and what the authors chose."""

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mlx_deepseek.errors import PromptError

# Seeds stay exact in JSON and in a picture's metadata.
MOST_SEED = 2**53 - 1
MOST_PICTURES = 1000
MOST_STEPS = 1000
MOST_PREVIEW = 10_000

# The authors' inference scripts: Janus and Janus-Pro draw by codes, JanusFlow by flow.
DEFAULTS: Mapping[str, Mapping[str, float | int]] = {
    "codes": {"guidance": 5.0, "temperature": 1.0},
    "flow": {"guidance": 2.0, "steps": 30},
}


@dataclass(frozen=True)
class DrawSettings:
    """None takes the authors' value; what a model has no use for must stay None.

    `guidance` 1 follows the prompt without exaggeration, 0 ignores it. `temperature` 0 always takes
    the likeliest code. `steps` are those of the flow.

    Raises:
        PromptError: a value outside its range.
    """

    guidance: float | None = None
    temperature: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        check("guidance", self.guidance, 0.0, 100.0)
        check("temperature", self.temperature, 0.0, 100.0)
        check("steps", self.steps, 1, MOST_STEPS)

    @property
    def chosen(self) -> dict[str, float | int]:
        """The values that are set, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def filled(self, way: str) -> "DrawSettings":
        """With the defaults of a way to draw, "codes" or "flow".

        Raises:
            PromptError: a value is set that this way does not have.
        """
        defaults = DEFAULTS[way]
        for name in self.chosen.keys() - defaults.keys():
            raise PromptError(
                f"draw: {name} is set, but this model has none. Expected "
                f"{' and '.join(defaults)} only."
            )
        return replace(self, **(defaults | self.chosen))  # type: ignore[arg-type]


def picture_seeds(seed: int | None, n: int) -> range:
    """The seeds of `n` pictures: `seed` or a random one, and the numbers after it.

    Raises:
        PromptError: a number outside its range.
    """
    check("n", n, 1, MOST_PICTURES)
    check("seed", seed, 0, MOST_SEED - n)
    first = secrets.randbelow(2**31) if seed is None else seed
    return range(first, first + n)


def check(name: str, value: float | None, low: float, high: float) -> None:
    """Raise PromptError unless `value` is None or a number from `low` to `high`.

    Whole bounds ask for a whole number.
    """
    whole = isinstance(low, int)
    right = value is None or (
        isinstance(value, int if whole else int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and low <= value <= high
    )
    if not right:
        kind = "a whole number" if whole else "a number"
        raise PromptError(f"draw: {name} is {value!r}. Expected {kind} from {low} to {high}.")
