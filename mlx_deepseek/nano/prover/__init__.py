"""nano-prover, DeepSeek-Prover V1.5 in miniature: exercises, training, measuring."""
