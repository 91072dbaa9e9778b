"""The ideas DeepSeek models are made of, one per file; they take numbers, never a whole model."""
