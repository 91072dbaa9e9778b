"""What a server is told when it starts, and its limits."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ServerSettings:
    """Limits are per request. `keepalive_s` is the longest silence while an answer is written.

    `api_key` None lets everybody who reaches the server ask. Pages of the sites `cors`, e.g.
    "http://localhost:3000", may ask from a browser.
    """

    api_key: str | None = None
    cors: tuple[str, ...] = ()
    body_bytes: int = 64 << 20
    messages: int = 10_000
    images: int = 64
    answers: int = 16
    keepalive_s: float = 5.0
    stored_responses: int = 1000
