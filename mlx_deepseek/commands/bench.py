"""`mlx-deepseek bench`: tokens per second, and how near decoding is to the memory's limit."""

import argparse
import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from mlx_deepseek.commands.options import add_command, add_hosts, add_memory, hosting

if TYPE_CHECKING:
    from mlx_deepseek.engine import Engine

SUMMARY = "measure a model's speed and its share of what memory bandwidth allows"
LIBRARIES = ("mlx-deepseek", "mlx", "mlx-lm")
PRIME = 7919  # strides over the vocabulary: a prompt whose tokens use many experts


@dataclass(frozen=True)
class Result:
    """Medians over repeats; speeds are per second.

    `fraction_of_limit` is the shortest possible time per token divided by the measured one: for
    `read_bytes_per_token` by copy bandwidth, where experts are on disk for `disk_bytes_per_token`
    by the disk's speed, and for `link_s` between `machines`, each of which reads its own part.
    """

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
    disk_bytes_per_s: float | None
    disk_bytes_per_token: float
    hit_rate: float
    fraction_of_limit: float
    machines: int = 1
    link_s: float = 0.0


def register(subparsers: Any) -> None:
    """Add the `bench` sub-command."""
    parser = add_command(subparsers, "bench", SUMMARY)
    parser.add_argument("model", metavar="MODEL", help='"nano", a folder, a hub id or its name')
    parser.add_argument(
        "--prompt", type=count, metavar="N", help="prompt tokens (512, or what fits the window)"
    )
    parser.add_argument("--tokens", type=count, default=64, metavar="N", help="tokens to generate")
    parser.add_argument("--repeats", type=count, default=3, metavar="N", help="runs to measure")
    parser.add_argument("--recipe", help="conversion recipe of a Hugging Face checkpoint")
    add_memory(parser)
    add_hosts(parser)
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
    options = {"recipe": args.recipe, "memory": args.memory, **hosting(args)}
    result = measure(args.model, args.prompt, args.tokens, args.repeats, **options)
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
    model: str, prompt: int | None = None, tokens: int = 64, repeats: int = 3, **options: Any
) -> Result:
    """Load `model`, with options of `load`; time reading `prompt` tokens, then generating.

    The prompt has 512 tokens or what fits.

    Raises:
        PromptError: prompt and tokens do not fit the context window.
        DeepSeekError: the model cannot be loaded.
    """
    from mlx_deepseek.engine import load
    from mlx_deepseek.errors import PromptError
    from mlx_deepseek.runtime.compute_thread import shared_worker

    loaded = load(model, **options)
    prompt = prompt or max(1, min(512, loaded.context_length - tokens))
    if prompt + tokens > loaded.context_length:
        raise PromptError(
            f"{loaded.name}: {prompt} + {tokens} tokens do not fit its context window of "
            f"{loaded.context_length}. Choose less with --prompt and --tokens."
        )
    return measure_loaded(shared_worker(), loaded, prompt, tokens, repeats)


def measure_loaded(worker: Any, loaded: "Engine", prompt: int, tokens: int, repeats: int) -> Result:
    """Time a model that the worker has loaded; one run before the measured ones warms up."""
    from statistics import median

    import mlx.core as mx

    from mlx_deepseek.checkpoint.files import weight_files
    from mlx_deepseek.models import language_config, sizes
    from mlx_deepseek.runtime.device import compute_item_bytes
    from mlx_deepseek.runtime.speed import copy_bytes_per_s, disk_bytes_per_s

    ids = [i * PRIME % language_config(loaded.config)["vocab_size"] for i in range(prompt)]
    bandwidth = worker.call(copy_bytes_per_s)
    generate(worker, loaded.model, ids, 2)
    usages = [generate(worker, loaded.model, ids, tokens) for _ in range(repeats)]
    hits = [usage.expert_hit_rate for usage in usages if usage.expert_hit_rate is not None]
    disk = disk_bytes_per_s(weight_files(loaded.folder)) if hits else None
    disk_bytes = median(usage.disk_bytes_per_token for usage in usages)
    disk_s = 0.0 if disk is None else disk_bytes / disk
    decode_tps = median(usage.generation_tps for usage in usages)
    item_bytes = compute_item_bytes()
    cache_bytes = sizes.cache_bytes_per_token(loaded.model, loaded.config, item_bytes)
    # Half of the generated tokens are in the cache on average.
    read_bytes = sizes.count(loaded.model).read_bytes + cache_bytes * (prompt + tokens // 2)
    others, link_s, mode = several(worker, loaded)
    seconds = [read_bytes / bandwidth + disk_s]
    seconds += [one["read_bytes"] / one["copy_bytes_per_s"] for one in others]
    shortest_s = link_s + (max(seconds) if mode == "tensor" else sum(seconds))
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
        read_bytes_per_token=read_bytes + int(sum(one["read_bytes"] for one in others)),
        disk_bytes_per_s=disk,
        disk_bytes_per_token=disk_bytes,
        hit_rate=median(hits) if hits else 1.0,
        fraction_of_limit=shortest_s * decode_tps,
        machines=1 + len(others),
        link_s=link_s,
    )


def several(worker: Any, loaded: "Engine") -> tuple[list[dict[str, float]], float, str]:
    """What other machines read of a model, seconds between them, and how it is split."""
    from mlx_deepseek.distributed.checks import speed
    from mlx_deepseek.distributed.forecast import LinkSpeed, link_seconds
    from mlx_deepseek.distributed.states import token_bytes
    from mlx_deepseek.models import language_config

    followers = loaded.followers
    if followers is None:
        return [], 0.0, "pipeline"
    others = worker.call(followers.bounds)
    group, layers = followers.group, language_config(loaded.config)["num_hidden_layers"]
    measured = worker.call(group.ask, "speed", lambda: speed(group.link))[0]
    link, state = LinkSpeed(**measured), token_bytes(loaded.config)
    return others, link_seconds(followers.mode, group.size, layers, link, state), followers.mode


def generate(worker: Any, model: Any, ids: list[int], tokens: int) -> Any:
    """The Usage of one greedy run from an empty cache; it goes on past stop tokens.

    Token by token, so that Ctrl-C ends it between two of them.
    """
    from mlx_deepseek.cache.prompt_cache import PromptCache
    from mlx_deepseek.generation import decode
    from mlx_deepseek.generation.request import Request
    from mlx_deepseek.generation.results import Usage
    from mlx_deepseek.generation.sampling import Sampling

    request = Request(ids, tokens, Sampling(temperature=0.0), stop_ids=frozenset())
    usage = Usage()
    cache = worker.call(PromptCache, model)
    for step in worker.iterate(decode.tokens(model, request, cache)):
        usage = step.usage
    return usage


def rows(result: Result) -> list[tuple[str, str]]:
    """Labels and values for a reader."""
    from mlx_deepseek.commands.info import size

    disk: list[tuple[str, str]] = []
    if result.disk_bytes_per_s:
        disk = [
            ("found in memory", f"{result.hit_rate:.1%} of the experts"),
            ("disk", f"{size(result.disk_bytes_per_s)} per second"),
            ("read from disk", f"{size(result.disk_bytes_per_token)} per token"),
        ]
    links: list[tuple[str, str]] = []
    if result.machines > 1:
        links = [("links", f"{result.link_s * 1e3:.2f} ms per token, {result.machines} machines")]
    return [
        ("device", result.device),
        ("versions", ", ".join(f"{name} {number}" for name, number in result.versions.items())),
        ("prompt", f"{result.prompt_tokens} tokens, {result.prefill_tps:,.1f} per second"),
        ("answer", f"{result.generated_tokens} tokens, {result.decode_tps:,.1f} per second"),
        ("peak memory", size(result.peak_memory_bytes)),
        ("copy bandwidth", f"{size(result.copy_bytes_per_s)} per second"),
        ("read per token", size(result.read_bytes_per_token)),
        *disk,
        *links,
        ("of the bandwidth limit", f"{result.fraction_of_limit:.1%}"),
    ]
