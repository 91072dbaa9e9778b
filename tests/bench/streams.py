"""Streams at once from two servers: ours and mlx_lm.server, the same checkpoint, rounds in turn.

    python -m tests.bench.streams [--streams 1 4 16] [--tokens 64] [--rounds 3] [--prefix 2048]

Each round, both are sent as many prompts at once as there are streams: of 64 tokens; or of
`--prefix` tokens that all share, and 64 of their own, the prefix being new, or known from a request
before. Both run nano's weights in float32, greedily, and may not end before `--tokens` tokens.
Prints tokens per second and seconds to the first token (median, p95), medians of the rounds; and
the medians of their ratios, of speed and of the servers' processor time, which other work on the
machine hardly changes.
"""

import argparse
import json
import random
import shutil
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import mlx.core as mx
from transformers import AutoTokenizer

from mlx_deepseek.checkpoint.load import load_prepared, prepare
from tests.bench.servers import Served, served

OWN_TOKENS = 64
WORDS = ["open", "read", "write", "test", "file", "line", "error", "done", "path", "value", "list"]


def make_model(folder: Path) -> None:
    """Nano in float32, for long prompts."""
    shutil.copytree(load_prepared(prepare("nano")).folder, folder)
    config = json.loads((folder / "config.json").read_text()) | {"max_position_embeddings": 16384}
    (folder / "config.json").write_text(json.dumps(config | {"torch_dtype": "float32"}))
    weights = mx.load(str(folder / "model.safetensors"))
    weights = {name: weight.astype(mx.float32) for name, weight in weights.items()}
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})


class Texts:
    """Words that are so many tokens."""

    def __init__(self, folder: Path):
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def text(self, tokens: int, seed: str) -> str:
        """The same text for the same seed."""
        chance = random.Random(seed)
        found = ""
        while len(self.tokenizer.encode(found, add_special_tokens=False)) < tokens:
            found += " ".join(chance.choices(WORDS, k=8)) + " "
        return found


def stream(server: Served, prompt: str, tokens: int) -> tuple[float, int]:
    """Seconds to the first token of an answer, and its tokens."""
    body = {"model": server.model, "prompt": prompt, "max_tokens": tokens, "temperature": 0}
    body |= {"stream": True, "stream_options": {"include_usage": True}, "logit_bias": {"1": -100}}
    began, first, written = time.perf_counter(), 0.0, 0
    with server.client.stream("POST", "/v1/completions", json=body) as response:
        for line in response.raise_for_status().iter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line.removeprefix("data: "))
            if any(choice.get("text") for choice in event["choices"]) and not first:
                first = time.perf_counter() - began
            written = (event.get("usage") or {}).get("completion_tokens", written)
    return first, written


def compare(name: str, servers: dict[str, Served], make, warm: bool, args) -> None:
    """Both in turn, `rounds` times; every round has prompts of its own."""
    found: dict[str, list[tuple[float, ...]]] = {who: [] for who in servers}
    for number in range(args.rounds + 1):
        prompts, begin = make(number)
        for who, server in list(servers.items())[:: 1 if number % 2 else -1]:
            if warm:
                stream(server, begin, 2)
            used, began = server.processor_s(), time.perf_counter()
            with ThreadPoolExecutor(len(prompts)) as pool:
                calls = [pool.submit(stream, server, prompt, args.tokens) for prompt in prompts]
            got = [call.result() for call in calls]
            seconds, used = time.perf_counter() - began, server.processor_s() - used
            assert all(written == args.tokens for _, written in got), (who, got)
            first = sorted(first for first, _ in got)
            late = first[max(0, round(0.95 * len(first)) - 1)]
            if number:  # the first round warms up
                speed = len(prompts) * args.tokens / seconds
                found[who].append((speed, statistics.median(first), late, used))
    cells = []
    for rounds in found.values():
        middle = [statistics.median(column) for column in zip(*rounds, strict=True)]
        cells.append(f"{middle[0]:9.1f} {middle[1]:7.2f} {middle[2]:7.2f}")
    pairs = list(zip(found["ours"], found["mlx-lm"], strict=True))
    ratios = [a[0] / b[0] for a, b in pairs]
    used = statistics.median(b[3] / a[3] if a[3] else 0 for a, b in pairs)
    spread = f"({min(ratios):.2f}-{max(ratios):.2f})"
    ends = f"{statistics.median(ratios):5.2f} {spread} {used:5.2f}"
    print(f"{name:<20}{'  |'.join(cells)}  | {ends}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prefix", type=int, default=2048)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        folder = Path(place) / "nano-float32"
        make_model(folder)
        texts = Texts(folder)
        blocks = ["--prefix-cache", str(Path(place) / "blocks")]
        servers = {
            "ours": stack.enter_context(served("ours", folder, blocks)),
            "mlx-lm": stack.enter_context(served("mlx-lm", folder)),
        }
        print(
            f"{'':<20}{'ours: t/s':>9} {'first':>7} {'p95':>7}  |{'mlx-lm':>9}{'':>16}  | ", end=""
        )
        print("ratio (range)  processor")
        for streams in args.streams:
            for kind in ("", "new prefix", "known prefix"):

                def make(number: int, kind: str = kind, streams: int = streams):
                    case = f"{streams} {kind} {number}"
                    begin = texts.text(args.prefix, case) if kind else ""
                    ends = [texts.text(OWN_TOKENS, f"{case} {i}") for i in range(streams)]
                    return [begin + end for end in ends], begin

                name = f"{streams}, {kind}" if kind else f"{streams} streams"
                compare(name, servers, make, kind == "known prefix", args)


if __name__ == "__main__":
    main()
