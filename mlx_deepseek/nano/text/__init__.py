"""nano, the embedded chat model: data, training, export."""
