"""Memory bandwidth of Apple's chips, as Apple publishes it with each Mac."""

import mlx.core as mx

# Gigabytes per second; of chips that were sold with several, the least.
BANDWIDTH_GB = {
    **{"M1": 68, "M1 Pro": 200, "M1 Max": 400, "M1 Ultra": 800},
    **{"M2": 100, "M2 Pro": 200, "M2 Max": 400, "M2 Ultra": 800},
    **{"M3": 100, "M3 Pro": 150, "M3 Max": 300, "M3 Ultra": 819},
    **{"M4": 120, "M4 Pro": 273, "M4 Max": 410, "M5": 153},
}


def published_bandwidth(device: str | None = None) -> float | None:
    """Bytes per second of a device that calls itself "Apple M4 Pro" (None: this one), if known."""
    name = str(mx.device_info().get("device_name", "")) if device is None else device
    known = BANDWIDTH_GB.get(name.removeprefix("Apple "))
    return None if known is None else known * 1e9
