"""Bytes in words, small models' too, and words in bytes."""

import re

from mlx_deepseek.errors import ConfigError

UNITS = ((10**9, "GB"), (10**6, "MB"))
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]?)(i?)B", re.IGNORECASE)
POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def in_words(nbytes: float) -> str:
    """As "391.40 GB", "1.36 MB" or "870 bytes"."""
    for unit, name in UNITS:
        if abs(nbytes) >= unit:
            return f"{nbytes / unit:,.2f} {name}"
    return f"{nbytes:,.0f} bytes"


def parse_size(text: str) -> int:
    """Bytes of "96GB" (decimal) or "96GiB" (binary).

    Raises:
        ConfigError: it is no size.
    """
    match = SIZE.fullmatch(text.strip())
    if match is None or float(match[1]) <= 0:
        raise ConfigError(f"{text!r} is no size. Expected something like 96GB or 15.5GiB.")
    base = 1024 if match[3] else 1000
    return int(float(match[1]) * base ** POWERS[match[2].lower()])
