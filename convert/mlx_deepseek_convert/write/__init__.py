"""Carrying out a plan, in bounded memory, resumable."""
