"""The settings panels."""
