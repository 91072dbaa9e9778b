"""Which source tensors become which of the model's."""
