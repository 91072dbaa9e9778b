"""How close a converted model is to its source, and how to get closer in the same bytes."""
