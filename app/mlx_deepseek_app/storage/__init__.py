"""Conversations and presets on disk."""
