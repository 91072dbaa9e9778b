"""This machine: its compute thread, memory, processor threads and devices."""
