"""nano: the embedded default model, a real but tiny DeepSeek-V3 trained by this project."""
