"""An answer as it grows, on the pages that keep none of them."""

from dataclasses import dataclass
from typing import Any

from mlx_deepseek_app.lane import Job


@dataclass
class Answer:
    """What the model has written so far, and what it took."""

    text: str = ""
    reasoning: str = ""
    usage: Any = None

    def take(self, job: Job) -> bool:
        """Add what is new; False if that is nothing."""
        chunks = job.take()
        for _, chunk in chunks:
            self.text += chunk.text or ""
            self.reasoning += chunk.reasoning or ""
            self.usage = chunk.usage or self.usage
        return bool(chunks)
