"""Prompt caches: one conversation's, and prefixes in memory and on disk."""
