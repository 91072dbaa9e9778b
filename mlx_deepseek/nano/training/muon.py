"""Muon: momentum made orthogonal (Jordan et al. 2024; scale after arXiv:2502.16982 §2.2)."""

import mlx.core as mx
from mlx.optimizers import Optimizer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


class Muon(Optimizer):
    """For matrices and stacks of matrices [..., m, n]; each by itself; convolutions, too."""

    def __init__(self, learning_rate, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__()
        self._maybe_schedule("learning_rate", learning_rate)
        self.momentum = momentum
        self.weight_decay = weight_decay

    def init_single(self, parameter: mx.array, state: dict) -> None:
        """Start with no momentum."""
        state["v"] = mx.zeros_like(parameter)

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict) -> mx.array:
        """The parameter after one Nesterov step of root-mean-square 0.2 times the rate."""
        velocity = self.momentum * state["v"] + (1 - self.momentum) * gradient
        state["v"] = velocity
        update = (1 - self.momentum) * gradient + self.momentum * velocity
        if parameter.ndim == 4:  # a convolution is the matrix of its output channels
            update = update.flatten(1)
        scale = 0.2 * max(update.shape[-2:]) ** 0.5
        update = orthogonal(update).reshape(parameter.shape)
        rate = self.learning_rate
        return parameter * (1 - rate * self.weight_decay) - rate * scale * update


def orthogonal(x: mx.array) -> mx.array:
    """The nearest (semi-)orthogonal matrices to x [..., m, n], by Newton-Schulz iteration."""
    a, b, c = COEFFICIENTS
    tall = x.shape[-2] > x.shape[-1]
    x = x.swapaxes(-1, -2) if tall else x
    x = x / (mx.sqrt((x * x).sum(axis=(-2, -1), keepdims=True)) + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.swapaxes(-1, -2)
        x = a * x + (b * square + c * (square @ square)) @ x
    return x.swapaxes(-1, -2) if tall else x
