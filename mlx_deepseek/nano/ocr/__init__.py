"""nano-ocr, DeepSeek-OCR in miniature: data, training, export."""
