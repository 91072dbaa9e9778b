"""Whether this process is one of several that mlx.launch or mpirun has started."""

import os

VARIABLES = ("MLX_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK")


def launched_rank() -> int | None:
    """This process's rank; None where nobody has started several."""
    rank = next((os.environ[name] for name in VARIABLES if name in os.environ), "")
    return int(rank) if rank.isdecimal() else None
