"""Kernels per decoded token beside mlx-lm: what separates equal mathematics on a GPU.

    python tests/bench/kernels.py [--shape v3] [--layers 4] [--list]

Builds 4-bit models shaped like V2 and V3 (a few layers, the first one dense) of both packages with
the same weights, and counts the operations in the graph of one decode step that launch a kernel:
all but views, a concatenation once per part. Compiled groups count once. Computed from graphs, so
it holds on every device, except where a device fuses or splits an operation of its own accord.
Norms and rotary embeddings count once, as on Metal and CUDA; a CPU takes them apart.
"""

import argparse
import collections
import contextlib
import io
import re
import sys
from importlib import import_module
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from against_mlx_lm import SHAPES
from mlx.utils import tree_flatten
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import quantize_model

from mlx_deepseek import models
from mlx_deepseek.checkpoint.load_weights import cast, quantize
from mlx_deepseek.layers import router, sinkhorn
from mlx_deepseek.layers.routing import Choosing, RouterConfig
from mlx_deepseek.models import layout
from mlx_deepseek.runtime import device

NODE = re.compile(r'{ (\d+) \[label ="(.+?)", shape=rectangle\]; }')
EDGE = re.compile(r'^"\w+" -> (\d+)$', re.MULTILINE)
VIEWS = {
    *("AsStrided", "Broadcast", "BroadcastAxes", "Contiguous", "Depends", "ExpandDims", "Flatten"),
    *(
        "Full",
        "Reshape",
        "Slice",
        "Split",
        "Squeeze",
        "StopGradient",
        "Transpose",
        "Unflatten",
        "View",
    ),
}
CACHED = 8


def pair(shape: str, layers: int) -> dict[str, Any]:
    """The same quantized model by mlx-lm and by us."""
    config = {**SHAPES[shape], "num_hidden_layers": layers}
    module = import_module(f"mlx_lm.models.{config['model_type']}")
    theirs = module.Model(module.ModelArgs.from_dict(config))
    theirs.set_dtype(mx.bfloat16)
    theirs, quantized = quantize_model(theirs, config, group_size=64, bits=4)
    weights = dict(tree_flatten(theirs.parameters()))
    ours = models.build(config, layout(weights))
    quantize(ours, quantized, weights)
    ours.load_weights([(name, cast(name, value, None)) for name, value in weights.items()])
    return {"mlx-lm": theirs, "ours": prepared(ours)}


def prepared(model: nn.Module) -> nn.Module:
    """What loading does to a model on a GPU."""
    mx.eval(model.parameters())
    return model.eval()


@contextlib.contextmanager
def whole_operations():
    """Norms and rotary embeddings as one operation each, which stands in for the GPU's kernel."""
    real = mx.fast.rms_norm, mx.fast.layer_norm, mx.fast.rope, mx.dequantize
    kernels_of_ours = sinkhorn.kernel, router.kernel
    on_gpu = device.on_gpu
    asking = [one for one in sys.modules.values() if getattr(one, "on_gpu", None) is on_gpu]
    for module in asking:  # a CPU goes another way
        module.on_gpu = lambda: True
    sinkhorn.kernel = lambda *_: mx.erfinv
    router.kernel = one_choice
    mx.dequantize = lambda packed, scales, *args, **kwargs: mx.erf(
        mx.repeat(scales, packed.shape[-1] // scales.shape[-1] * 32 // kwargs["bits"], -1)
    )
    mx.fast.rms_norm = lambda x, weight, eps: mx.erf(x)
    mx.fast.layer_norm = lambda x, weight, bias, eps: mx.erf(x)
    mx.fast.rope = lambda x, *args, **kwargs: mx.erfinv(x)
    try:
        yield
    finally:
        mx.fast.rms_norm, mx.fast.layer_norm, mx.fast.rope, mx.dequantize = real
        sinkhorn.kernel, router.kernel = kernels_of_ours
        for module in asking:
            module.on_gpu = on_gpu


def one_choice(config: RouterConfig, biased: bool, dtype: mx.Dtype) -> Choosing:
    """A router's choice as one operation, whose one output stands for both of the kernel's."""

    def choose(logits: mx.array, bias: mx.array | None) -> tuple[mx.array, mx.array]:
        both = mx.erfinv(logits)[..., : config.per_token]
        return both.view(mx.uint32), both.view(dtype)[..., : config.per_token]

    return choose


def kernels(model: Any) -> collections.Counter[str]:
    """Kernels of one decode step after CACHED tokens, by operation."""
    cache = make_prompt_cache(model)
    mx.eval(model(mx.arange(CACHED)[None], cache=cache), [c.state for c in cache])
    with whole_operations():
        token = mx.argmax(model(mx.array([[1]]), cache=cache)[:, -1], axis=-1)
    text = io.StringIO()
    mx.export_to_dot(text, token)
    edges = collections.Counter(EDGE.findall(text.getvalue()))
    count: collections.Counter[str] = collections.Counter()
    for node, label in NODE.findall(text.getvalue()):
        if label.split()[0] not in VIEWS:
            count[label] += edges[node] if label == "Concatenate" else 1
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, action="append")
    parser.add_argument("--list", action="store_true", help="show each operation")
    parser.add_argument("--layers", type=int, default=4)
    args = parser.parse_args()
    for shape in args.shape or SHAPES:
        counts = {name: kernels(model) for name, model in pair(shape, args.layers).items()}
        totals = {name: count.total() for name, count in counts.items()}
        print(
            f"{shape}-shaped, {args.layers} layers: "
            + ", ".join(f"{n} {t}" for n, t in totals.items())
        )
        if args.list:
            for label in sorted(set().union(*counts.values())):
                print(f"  {label:<28}" + "".join(f"{c[label]:>8}" for c in counts.values()))


if __name__ == "__main__":
    main()
