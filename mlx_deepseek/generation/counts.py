"""What an engine has done so far, in numbers."""

from dataclasses import dataclass


@dataclass
class SchedulerCounts:
    """Of all requests since the model was loaded."""

    requests: int = 0
    finished: int = 0
    cancelled: int = 0
    failed: int = 0
    refused: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    steps: int = 0
