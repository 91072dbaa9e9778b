"""Errors that a user can act on: each message says where, what, expected and what to do."""


class DeepSeekError(Exception):
    """Base of every error raised on purpose; the command line prints it and exits 1."""


class ConfigError(DeepSeekError):
    """A configuration of an unknown architecture, or one we would compute wrongly."""


class CheckpointError(DeepSeekError):
    """A checkpoint's files or tensors are missing, damaged, unknown or of the wrong shape."""


class PromptError(DeepSeekError):
    """Messages, tools or completion requests that the model's prompt format cannot express."""


class ImageError(DeepSeekError):
    """A picture or document that cannot be read or does not fit the model."""


class MemoryLimitError(DeepSeekError):
    """A model and context that do not fit into this machine's memory."""


class LeanError(DeepSeekError):
    """Lean is missing or fails, or it cannot read a statement."""


class Busy(DeepSeekError):
    """More requests wait than the queue takes; `retry_after_s` is when there may be room."""

    def __init__(self, message: str, retry_after_s: float):
        super().__init__(message)
        self.retry_after_s = retry_after_s


class HostsError(DeepSeekError):
    """Another machine cannot be reached, is lost or late, or has other versions or weights."""
