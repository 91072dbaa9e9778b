"""A conversation as data: messages, versions, settings."""
