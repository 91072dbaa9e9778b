"""Speculative decoding: a drafter guesses tokens, the model verifies them all in one pass.

The model's MTP layer drafts (arXiv:2412.19437 §2.2), or a smaller model (arXiv:2211.17192). What is
written does not depend on the guesses: the model chooses every token itself, with noise that
belongs to the token's position (see `sampling.Sampler`), and accepts a draft that is that very
token. So greedy output is the greedy output, a seed gives the same text with and without drafts,
and the distribution is the model's own. Draft and model share their noise, so they agree nearly as
often as rejection sampling would accept (measured in docs/measurements.md).
"""
