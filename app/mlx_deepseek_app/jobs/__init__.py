"""The loaded model and the queue of what tabs ask of it."""
