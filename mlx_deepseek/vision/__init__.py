"""From pixels to features: encoders, and how pictures are cut for them; nothing of text."""
