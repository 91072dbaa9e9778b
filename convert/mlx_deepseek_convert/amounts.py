"""Bytes in words, small models' too."""

UNITS = ((10**9, "GB"), (10**6, "MB"))


def in_words(nbytes: float) -> str:
    """As "391.40 GB", "1.36 MB" or "870 bytes"."""
    for unit, name in UNITS:
        if abs(nbytes) >= unit:
            return f"{nbytes / unit:,.2f} {name}"
    return f"{nbytes:,.0f} bytes"
