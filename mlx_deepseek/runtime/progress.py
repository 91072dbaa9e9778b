"""How long work reports: what is done, how far it is, how far it goes."""

from collections.abc import Callable

# "download", "convert" or "load"; bytes done; bytes in total (0: unknown).
Progress = Callable[[str, int, int], None]
