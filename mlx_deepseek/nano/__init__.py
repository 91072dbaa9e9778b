"""nano and nano-ocr: the embedded models, tiny but real, trained by this project."""
