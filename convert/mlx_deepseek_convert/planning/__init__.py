"""What a conversion will write, before a byte moves."""
