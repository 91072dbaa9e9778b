"""One file per prompt format."""
