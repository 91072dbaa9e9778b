"""Reading documents: pages in, what a model transcribes, Markdown with figures and boxes out."""
