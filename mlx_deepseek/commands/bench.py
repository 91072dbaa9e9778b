"""`mlx-deepseek bench`: tokens per second, and how near decoding is to the memory's limit."""

import argparse
import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlx_deepseek.loading import Loaded

SUMMARY = "measure a model's speed and its share of what memory bandwidth allows"
LIBRARIES = ("mlx-deepseek", "mlx", "mlx-lm")
# Larger than any cache of the processor.
COPY_BYTES_GPU, COPY_BYTES_CPU = 1 << 30, 1 << 27
COPY_REPEATS = 5
PRIME = 7919  # strides over the vocabulary: a prompt whose tokens use many experts


@dataclass(frozen=True)
class Result:
    """Medians over repeats; `fraction_of_limit` is the shortest possible time per token, by
    memory bandwidth, divided by the measured one. Speeds are per second."""

    model: str
    device: str
    versions: dict[str, str]
    prompt_tokens: int
    generated_tokens: int
    repeats: int
    prefill_tps: float
    decode_tps: float
    peak_memory_bytes: int
    copy_bytes_per_s: float
    read_bytes_per_token: int
    fraction_of_limit: float


def register(subparsers: Any) -> None:
    """Add the `bench` sub-command."""
    parser = subparsers.add_parser("bench", help=SUMMARY, description=f"{SUMMARY.capitalize()}.")
    parser.add_argument("model", metavar="MODEL", help='"nano", a folder, a hub id or its name')
    parser.add_argument("--prompt", type=count, default=512, metavar="N", help="prompt tokens")
    parser.add_argument("--tokens", type=count, default=64, metavar="N", help="tokens to generate")
    parser.add_argument("--repeats", type=count, default=3, metavar="N", help="runs to measure")
    parser.add_argument("--recipe", help="conversion recipe of a Hugging Face checkpoint")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(func=run)


def count(text: str) -> int:
    """An argument of at least 2: one token has no speed, nor one repeat a median."""
    value = int(text)
    if value < 2:
        raise argparse.ArgumentTypeError("expected at least 2")
    return value


def run(args: argparse.Namespace) -> int:
    """Load, measure, print; DeepSeekError is the caller's to print."""
    result = measure(args.model, args.prompt, args.tokens, args.repeats, args.recipe)
    if args.json:
        print(json.dumps(asdict(result), indent=2))  # noqa: T201
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table(title=result.model, show_header=False)
    for label, value in rows(result):
        table.add_row(label, value)
    Console().print(table)
    return 0


def measure(
    model: str, prompt: int = 512, tokens: int = 64, repeats: int = 3, recipe: str | None = None
) -> Result:
    """Load `model` and time it: reading `prompt` tokens, then generating `tokens`.

    Raises:
        PromptError: prompt and tokens do not fit the context window.
        DeepSeekError: the model cannot be loaded.
    """
    from mlx_deepseek.errors import PromptError
    from mlx_deepseek.loading import load_everything
    from mlx_deepseek.worker import Worker

    worker = Worker()  # MLX's streams belong to a thread; this is how the engine computes, too
    loaded = worker.call(
        lambda: load_everything(model, recipe=recipe, dtype=None, revision=None, progress=None)
    )
    if prompt + tokens > loaded.context_length:
        raise PromptError(
            f"{loaded.name}: {prompt} + {tokens} tokens do not fit its context window of "
            f"{loaded.context_length}. Choose less with --prompt and --tokens."
        )
    return worker.call(lambda: measure_loaded(loaded, prompt, tokens, repeats))


def measure_loaded(loaded: "Loaded", prompt: int, tokens: int, repeats: int) -> Result:
    """Time a model that this thread has loaded; one run before the measured ones warms up."""
    import mlx.core as mx

    from mlx_deepseek import memory
    from mlx_deepseek.checkpoint import compute_dtype

    ids = [i * PRIME % loaded.config["vocab_size"] for i in range(prompt)]
    bandwidth = copy_bytes_per_s()
    generate(loaded.model, ids, 2)
    usages = [generate(loaded.model, ids, tokens) for _ in range(repeats)]
    decode_tps = median(usage.generation_tps for usage in usages)
    item_bytes = memory.CACHE_ITEM_BYTES if compute_dtype() is None else 4
    cache_bytes = memory.cache_bytes_per_token(loaded.model, loaded.config, item_bytes)
    # Half of the generated tokens are in the cache on average.
    read_bytes = memory.count(loaded.model).read_bytes + cache_bytes * (prompt + tokens // 2)
    return Result(
        model=loaded.name,
        device=str(mx.device_info().get("device_name", mx.default_device())),
        versions={name: version(name) for name in LIBRARIES},
        prompt_tokens=prompt,
        generated_tokens=tokens,
        repeats=repeats,
        prefill_tps=median(usage.prompt_tps for usage in usages),
        decode_tps=decode_tps,
        peak_memory_bytes=max(usage.peak_memory_bytes for usage in usages),
        copy_bytes_per_s=bandwidth,
        read_bytes_per_token=read_bytes,
        fraction_of_limit=read_bytes / bandwidth * decode_tps,
    )


def generate(model: Any, ids: list[int], tokens: int) -> Any:
    """The Usage of one greedy run from an empty cache; it goes on past stop tokens."""
    from mlx_deepseek import generate
    from mlx_deepseek.cache import KeptCache
    from mlx_deepseek.completion import Usage

    greedy = generate.Sampling(temperature=0.0)
    request = generate.Request(ids, tokens, greedy, stop_ids=frozenset())
    usage = Usage()
    for step in generate.tokens(model, request, KeptCache(model)):
        usage = step.usage
    return usage


def copy_bytes_per_s() -> float:
    """Bytes read and written per second by this device's fastest copy of a large array.

    A CPU copies on all cores, as it computes quantized products on all.
    """
    import time

    import mlx.core as mx

    from mlx_deepseek.cpu import available_cores

    on_cpu = mx.default_device().type == mx.DeviceType.cpu
    parts = available_cores() if on_cpu else 1
    nbytes = (COPY_BYTES_CPU if on_cpu else COPY_BYTES_GPU) // parts
    sources = [mx.zeros(nbytes // 4, mx.float32) + part for part in range(parts)]
    streams = [mx.default_stream(mx.default_device())]
    streams += [mx.new_thread_local_stream(mx.cpu) for _ in range(parts - 1)]
    mx.eval(sources)
    fastest = float("inf")
    for _ in range(COPY_REPEATS):
        began = time.perf_counter()
        copies = [
            mx.add(source, 1.0, stream=stream)
            for source, stream in zip(sources, streams, strict=True)
        ]
        mx.eval(copies)
        fastest = min(fastest, time.perf_counter() - began)
    return 2 * nbytes * parts / fastest


def rows(result: Result) -> list[tuple[str, str]]:
    """Labels and values for a reader."""
    from mlx_deepseek.commands.info import size

    return [
        ("device", result.device),
        ("versions", ", ".join(f"{name} {number}" for name, number in result.versions.items())),
        ("prompt", f"{result.prompt_tokens} tokens, {result.prefill_tps:,.1f} per second"),
        ("answer", f"{result.generated_tokens} tokens, {result.decode_tps:,.1f} per second"),
        ("peak memory", size(result.peak_memory_bytes)),
        ("copy bandwidth", f"{size(result.copy_bytes_per_s)} per second"),
        ("read per token", size(result.read_bytes_per_token)),
        ("of the bandwidth limit", f"{result.fraction_of_limit:.1%}"),
    ]
