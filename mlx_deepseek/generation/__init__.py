"""From a prompt to tokens and back to text."""
