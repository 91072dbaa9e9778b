"""One module for each API: its requests as one internal request, and events as its answers."""
