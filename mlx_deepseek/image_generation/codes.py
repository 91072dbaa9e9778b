"""Janus's way to draw (arXiv:2410.13848 §3.4): codes one after the other, with guidance.

Rows are n conditional ones, which see the prompt, then as many unconditional ones, which see
padding in its place; a code is chosen from both rows' logits and fed to both.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import mlx.core as mx

from mlx_deepseek.cache.remote_cache import repeat_rows
from mlx_deepseek.image_generation.canvas import Canvas
from mlx_deepseek.models.janus import Janus


def draw_codes(
    model: Janus,
    prompt: Sequence[int],
    pad: int,
    seeds: Sequence[int],
    *,
    guidance: float,
    temperature: float,
) -> Iterator[Canvas]:
    """A canvas after every code; `prompt` ends with the token that begins a picture.

    A picture's noise depends on its own seed and on the code's place, on nothing else.
    """
    decoder = GuidedDecoder(model, prompt, pad, len(seeds))
    total = model.code_side**2
    noise = [mx.random.split(mx.random.key(seed), total) for seed in seeds]
    codes: list[mx.array] = []
    for place in range(total):
        logits = guided(decoder.logits(), guidance)
        codes.append(choose(logits, [keys[place] for keys in noise], temperature))
        if place + 1 < total:
            decoder.feed(codes[-1])
        mx.async_eval(codes[-1], decoder.hidden)  # the next code's work goes on meanwhile
        mx.eval(codes[-1])
        yield Canvas(place + 1, total, partial(rendered, model, codes[:]))


class GuidedDecoder:
    """2n rows of the language model in one batch, behind a prompt that is read once.

    The prompt is computed for two rows; each picture's rows then start from a copy of its cache.
    """

    def __init__(self, model: Janus, prompt: Sequence[int], pad: int, n: int):
        self.model = model
        ids = mx.array([list(prompt), unconditional(prompt, pad)])
        self.cache = model.make_cache()
        hidden = model.language.model(ids, self.cache)[:, -1]  # [2, D]
        self.hidden = mx.repeat(hidden, n, axis=0)  # [2n, D]
        repeat_rows(self.cache, n)

    def logits(self) -> mx.array:
        """The next code's logits [2n, codes] in float32."""
        return self.model.code_head(self.hidden).astype(mx.float32)

    def feed(self, codes: mx.array) -> None:
        """Go on with codes [n], which conditional and unconditional rows share."""
        embeddings = self.model.embed_codes(mx.concatenate([codes, codes]))[:, None]  # [2n, 1, D]
        self.hidden = self.model.language.model(None, self.cache, embeddings)[:, -1]


def unconditional(prompt: Sequence[int], pad: int) -> list[int]:
    """A prompt without its words: the first and the last token stay, padding is seen between."""
    return [prompt[0], *[pad] * (len(prompt) - 2), prompt[-1]]


def guided(logits: mx.array, guidance: float) -> mx.array:
    """Logits [n, codes] of conditional and unconditional ones [2n, codes] (arXiv:2207.12598)."""
    conditional, without = mx.split(logits, 2)
    return without + guidance * (conditional - without)


def choose(logits: mx.array, keys: Sequence[mx.array], temperature: float) -> mx.array:
    """Codes [n] of logits [n, codes], each with a random key of its own."""
    if not temperature:
        return logits.argmax(axis=-1)
    scaled = logits / temperature
    rows = [mx.random.categorical(scaled[i : i + 1], key=key) for i, key in enumerate(keys)]
    return mx.concatenate(rows)


def rendered(model: Janus, codes: Sequence[mx.array], picture: int) -> mx.array:
    """Pixels [H, W, 3] of one picture's codes so far; rows that are not complete are grey."""
    side = model.code_side
    rows = len(codes) // side
    size = side * model.vq.patch_px
    if not rows:
        return mx.zeros((size, size, 3))
    grid = mx.stack([code[picture] for code in codes[: rows * side]]).reshape(1, rows, side)
    pixels = model.vq.decode(grid)[0]  # [rows * patch, W, 3]
    return mx.pad(pixels, [(0, size - pixels.shape[0]), (0, 0), (0, 0)])
