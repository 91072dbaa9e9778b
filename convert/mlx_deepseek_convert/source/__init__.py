"""Checkpoints to read: files, headers, tensors."""
