"""JanusFlow's way to draw (arXiv:2411.07975 §3.2): rectified flow from noise, by Euler's steps.

Rows are n conditional ones and n unconditional ones, as in `codes`. The original reads the prompt
again at every step; its keys and values do not change, so here they are computed once.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import mlx.core as mx

from mlx_deepseek.image_generation.canvas import Canvas
from mlx_deepseek.models.janusflow import JanusFlow


def draw_flow(
    model: JanusFlow,
    prompt: Sequence[int],
    pad: int,
    seeds: Sequence[int],
    *,
    guidance: float,
    steps: int,
    decode: Callable[[mx.array], mx.array],
) -> Iterator[Canvas]:
    """A canvas after every step; `prompt` ends with the token in whose place the time is seen.

    `decode` is the VAE: pixels of latents. Unfinished canvases show where the flow is heading.
    """
    field = GuidedFlow(model, prompt, pad, len(seeds))
    shape = (1, model.latent_side, model.latent_side, model.latent)
    latents = mx.concatenate([mx.random.normal(shape, key=mx.random.key(seed)) for seed in seeds])
    for step in range(steps):
        time = step / steps
        velocity = guided_velocity(field(latents, time), guidance)
        heading = latents + (1 - time) * velocity
        latents = latents + velocity / steps
        mx.eval(latents)
        shown = latents if step + 1 == steps else heading
        yield Canvas(step + 1, steps, partial(rendered, decode, shown))


class GuidedFlow:
    """Velocities of n pictures, with and without their prompt, in one batch."""

    def __init__(self, model: JanusFlow, prompt: Sequence[int], pad: int, n: int):
        self.model = model
        words = list(prompt[:-1])  # the time comes in the last token's place
        cache = model.make_cache()
        ids = mx.array([words, [words[0], *[pad] * (len(words) - 1)]])
        model.language.model(ids, cache)
        self.cache = [FixedPrefix(layer.keys_and_values(), n) for layer in cache]
        mx.eval([(layer.keys, layer.values) for layer in self.cache])

    def __call__(self, latents: mx.array, time: float) -> mx.array:
        """Velocities [2n, h, w, c], float32, of latents [n, h, w, c] at a time in [0, 1)."""
        doubled = mx.concatenate([latents, latents])
        return self.model.velocity(doubled, time, self.cache).astype(mx.float32)


class FixedPrefix:
    """mlx-lm's cache protocol for a layer that reads the same two prompts before every step.

    Nothing is appended. Each prompt's keys and values are kept once, whatever n is. Unconditional
    rows see nothing of theirs but the first token.
    """

    def __init__(self, prompts: tuple[mx.array, mx.array], n: int):
        self.keys, self.values = prompts  # [2, H, S, D]
        self.n = n
        self.offset = self.keys.shape[2]

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """The prompts' keys and values [2n, H, S + L, D] before those of this step."""
        pairs = (self.keys, keys), (self.values, values)
        keys, values = (
            mx.concatenate([mx.repeat(before, self.n, axis=0), now], axis=2)
            for before, now in pairs
        )
        return keys, values

    def make_mask(self, length: int, **_: Any) -> mx.array:
        """Which of S + L positions the L rows see [2n, 1, L, S + L]: causal, and see above."""
        before = self.offset
        places = mx.arange(before + length)
        causal = mx.arange(before, before + length)[:, None] >= places  # [L, S + L]
        words = (places > 0) & (places < before)
        conditional = mx.arange(2 * self.n) < self.n
        hidden = words & ~conditional[:, None]  # [2n, S + L]
        return causal & ~hidden[:, None, None]


def guided_velocity(velocity: mx.array, guidance: float) -> mx.array:
    """Velocities [n, ...] of conditional and unconditional ones [2n, ...] (arXiv:2207.12598)."""
    conditional, without = mx.split(velocity, 2)
    return guidance * conditional - (guidance - 1) * without


def rendered(decode: Callable[[mx.array], mx.array], latents: mx.array, picture: int) -> mx.array:
    """Pixels [H, W, 3] of one picture's latents among [n, h, w, c]."""
    return decode(latents[picture : picture + 1])[0]
