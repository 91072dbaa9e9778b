"""Encoding and decoding beside mlx-vlm on one miniature checkpoint of DeepSeek-OCR, in one run.

    pip install mlx-vlm==0.7.10
    python tests/bench/against_mlx_vlm.py

The checkpoint has the released code's fixed sizes (windows of 14, tiles of 1024 and 640 pixels) and
few, narrow layers, float32, random values. Both sides get the same pixels and the same tokens; the
features are compared first. Absolute times say nothing; their ratios say little about Metal.
"""

import argparse
import gc
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from mlx_deepseek import models
from mlx_deepseek.vision.tiling.plan import Pixels, TilePlan

WIDTH, HIDDEN, VOCAB = 96, 256, 4096


def config() -> dict[str, Any]:
    """DeepSeek-OCR's config with few, narrow layers."""
    language = {
        "model_type": "deepseek_v2", "use_mla": False, "hidden_size": HIDDEN, "vocab_size": VOCAB,
        "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 4,
        "intermediate_size": 704, "moe_intermediate_size": 96, "n_routed_experts": 16,
        "n_shared_experts": 2, "num_experts_per_tok": 6, "first_k_dense_replace": 1,
        "moe_layer_freq": 1, "max_position_embeddings": 8192, "topk_method": "greedy",
        "n_group": 1, "topk_group": 1, "q_lora_rank": None, "kv_lora_rank": None,
        "qk_nope_head_dim": 0, "qk_rope_head_dim": 0, "v_head_dim": 0,
    }  # fmt: skip
    widths = {
        "sam_vit_b": {
            "width": WIDTH, "layers": 4, "heads": 4, "global_attn_indexes": [1, 3],
            "downsample_channels": [512, 1024],
        },
        "clip-l-14-224": {
            "width": 1024, "layers": 2, "heads": 16, "image_size": 224, "patch_size": 14,
        },
    }  # fmt: skip
    return {
        "model_type": "deepseek_vl_v2",
        "tile_tag": "2D",
        "global_view_pos": "head",
        "candidate_resolutions": [[1024, 1024]],
        "language_config": language,
        "projector_config": {"projector_type": "linear", "input_dim": 2048, "n_embed": HIDDEN},
        "vision_config": {"model_name": "deeplip_b_l", "image_size": 1024, "width": widths},
    }


def measured(works: Sequence[Callable[[], float]], rounds: int) -> list[tuple[float, float]]:
    """For each work the median of the seconds it tells, and the highest peak in MB above what was
    held before. They take turns, so that what else the machine does meets all of them."""
    times: list[list[float]] = [[] for _ in works]
    peaks = [0] * len(works)
    for _ in range(rounds + 1):
        for at, work in enumerate(works):
            gc.collect()
            mx.clear_cache()
            mx.reset_peak_memory()
            held = mx.get_active_memory()
            times[at].append(work())
            peaks[at] = max(peaks[at], mx.get_peak_memory() - held)
    return [
        (statistics.median(took[1:]), peak / 1e6) for took, peak in zip(times, peaks, strict=True)
    ]


def encode(encoder: Callable[[mx.array], mx.array], pixels: mx.array) -> float:
    """Seconds to the projected features of some tiles."""
    started = time.perf_counter()
    mx.eval(encoder(pixels))
    return time.perf_counter() - started


def decode(model: Any, cache: list[Any], ids: mx.array, embeddings: mx.array, count: int) -> float:
    """Seconds for each of `count` greedy tokens after a prompt, which is read before."""
    logits = model(ids, cache=cache, input_embeddings=embeddings)
    token = mx.argmax(getattr(logits, "logits", logits)[:, -1:], axis=-1)
    mx.eval(token)
    started = time.perf_counter()
    for _ in range(count):
        logits = model(token, cache=cache)
        token = mx.argmax(getattr(logits, "logits", logits)[:, -1:], axis=-1)
        mx.eval(token)
    return (time.perf_counter() - started) / count


RENAMED = {
    "sam": (("mlp.fc", "mlp.lin"), ("downsamples.0", "net_2"), ("downsamples.1", "net_3")),
    "clip": (
        ("blocks.", "transformer.layers."),
        ("norm1", "layer_norm1"),
        ("norm2", "layer_norm2"),
        ("attn.qkv", "self_attn.qkv_proj"),
        ("attn.proj", "self_attn.out_proj"),
        ("class_embedding", "embeddings.class_embedding"),
        ("position_embedding", "embeddings.position_embedding.weight"),
    ),
    "language": (),
}


class Peer:
    """mlx-vlm's modules of the same sizes with our values."""

    def __init__(self, ours: Any, description: dict[str, Any]):
        package = "mlx_vlm.models.deepseekocr"
        sam, vision, language, settings = (
            import_module(f"{package}.{name}") for name in ("sam", "vision", "language", "config")
        )
        small = description["vision_config"]["width"]["sam_vit_b"]
        self.sam = sam.SAMEncoder(
            embed_dim=small["width"],
            depth=small["layers"],
            num_heads=small["heads"],
            global_attn_indexes=tuple(small["global_attn_indexes"]),
        )
        layers = description["vision_config"]["width"]["clip-l-14-224"]["layers"]
        self.clip = vision.VisionModel(settings.VisionConfig(model_type="vision", layers=layers))
        text = settings.TextConfig.from_dict(description["language_config"])
        self.language = language.LanguageModel(text)
        self.projector = ours.projector
        parts = {
            "sam": (self.sam, ours.vision.sam),
            "clip": (self.clip, ours.vision.clip),
            "language": (self.language, ours.language),
        }
        for name, (theirs, own) in parts.items():
            values = []
            for path, value in tree_flatten(own.parameters()):
                for old, new in RENAMED[name]:
                    path = path.replace(old, new)
                values.append((path, value))
            theirs.load_weights(values, strict=name != "clip")  # its patches are never used
            mx.eval(theirs.parameters())

    def encode(self, pixels: mx.array) -> mx.array:
        """Projected features, as its model computes them."""
        local = self.sam(pixels)
        meaning = self.clip(pixels, local)[:, 1:]
        return self.projector(mx.concatenate([meaning, local.flatten(1, 2)], axis=-1))

    def __call__(
        self, ids: mx.array, cache: Any = None, input_embeddings: mx.array | None = None
    ) -> Any:
        """Its language model."""
        return self.language(ids, inputs_embeds=input_embeddings, cache=cache)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=32)
    args = parser.parse_args()
    from mlx_lm.models.cache import KVCache

    mx.random.seed(0)
    ours: Any = models.build(config())
    flat = tree_flatten(ours.parameters())
    ours.load_weights([(name, 0.05 * mx.random.normal(value.shape)) for name, value in flat])
    ours.eval()
    mx.eval(ours.parameters())
    theirs = Peer(ours, config())
    show = "{:28}{:>10}{:>12}{:>10}{:>14}{:>12}".format
    print(show("", "ours s", "mlx-vlm s", "ratio", "ours peak MB", "mlx-vlm MB"))
    for side, tiles in ((640, 1), (640, 4), (1024, 1)):
        pixels = mx.random.normal((tiles, side, side, 3))
        a, b = ours.encoded(pixels), theirs.encode(pixels)
        encoders = [partial(encode, each, pixels) for each in (ours.encoded, theirs.encode)]
        row = measured(encoders, args.rounds)
        apart = (mx.abs(a - b).max() / b.std()).item()
        name = f"encode {tiles} x {side} px"
        print(show(name, *line(row)), f" features {apart:.0e} apart")
    plan = TilePlan(1024, 16)
    view = Pixels(mx.random.normal((1, 1024, 1024, 3)))
    prompt = mx.concatenate([ours.see(view, plan), ours.embed(mx.zeros((1, 8), mx.int32))[0]])[None]
    ids = mx.zeros(prompt.shape[:2], mx.int32)

    def decoded(model: Any) -> float:
        caches = [KVCache() for _ in ours.layers]
        return decode(model, caches, ids, prompt, args.tokens)

    row = measured([partial(decoded, model) for model in (ours, theirs)], args.rounds)
    print(show(f"decode a token after {len(ids[0])}", *line(row)))
    print(f"tokens/s: {1 / row[0][0]:.1f} and {1 / row[1][0]:.1f}")


def line(row: Sequence[tuple[float, float]]) -> tuple[str, ...]:
    """Our seconds and MB and theirs, as columns."""
    (own_s, own_mb), (peer_s, peer_mb) = row
    return (
        f"{own_s:.3f}",
        f"{peer_s:.3f}",
        f"{peer_s / own_s:.2f}",
        f"{own_mb:.0f}",
        f"{peer_mb:.0f}",
    )


if __name__ == "__main__":
    main()
