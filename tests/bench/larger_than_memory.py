"""Routed experts from the disk: speed, hit rate, bytes and memory of a model of V3's layer shape.

    python tests/bench/larger_than_memory.py make FOLDER [--layers 2]      # 6.3 GB a layer
    python tests/bench/larger_than_memory.py make FOLDER --lite            # V2-Lite's: 0.3 GB
    python tests/bench/larger_than_memory.py run FOLDER [--shares 0.25 0.125 0.03] [--resident]
    python tests/bench/larger_than_memory.py prompt FOLDER [--shares ...] [--tokens 256]
    python tests/bench/larger_than_memory.py records FOLDER                # one part per expert
    python tests/bench/larger_than_memory.py caches                        # LRU beside the ideal
    python tests/bench/larger_than_memory.py ahead                         # one layer's guesses
    python tests/bench/larger_than_memory.py table                         # of the page in docs

`make` writes random weights, 4 bits, 256 experts, 8 per token. `run` starts a process for each
share of experts in memory, which reads a prompt and writes tokens, and says beside its speed how
fast plain `pread` was in the same process on parts of the same size, and the most memory that the
system saw it use. The page cache is dropped before each measurement (as root; else only this
file's pages). All runs must write the same tokens.
"""

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import mlx.core as mx
import numpy as np

from mlx_deepseek.checkpoint.expert_files import expert_tensors
from mlx_deepseek.checkpoint.load_weights import load_model
from mlx_deepseek.checkpoint.room import model_memory
from mlx_deepseek.checkpoint.safetensors_header import NAMES, build_header
from mlx_deepseek.layers.streamed_experts import traffic
from mlx_deepseek.models import build
from mlx_deepseek.models.expert_memory import moe_layers
from mlx_deepseek.models.forecast import Speeds, forecast
from mlx_deepseek.runtime.file_reader import FileReader, Part
from mlx_deepseek.runtime.slots import Slots
from mlx_deepseek.runtime.speed import product_bytes_per_s
from tests.bench.shapes import V3_ROUTER

CONFIG = {
    "model_type": "deepseek_v3",
    "architectures": ["DeepseekV3ForCausalLM"],
    "vocab_size": 4096,
    "hidden_size": 7168,
    "intermediate_size": 4096,  # of the dense layer alone: V3's is 18432
    "moe_intermediate_size": 2048,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "n_shared_experts": 1,
    "n_routed_experts": 256,
    "num_experts_per_tok": 8,
    "n_group": 8,
    "topk_group": 4,
    **V3_ROUTER,
    "first_k_dense_replace": 1,
    "moe_layer_freq": 1,
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "max_position_embeddings": 4096,
    "rope_theta": 10000,
    "rms_norm_eps": 1e-6,
    "num_nextn_predict_layers": 0,
    "hidden_act": "silu",
    "quantization": {"group_size": 64, "bits": 4, "mode": "affine"},
}
LITE = {
    "hidden_size": 2048,
    "moe_intermediate_size": 1408,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "n_shared_experts": 2,
    "n_routed_experts": 64,
    "num_experts_per_tok": 6,
    "n_group": 1,
    "topk_group": 1,
}
PROMPT, TOKENS, SHARES = 12, 10, (0.25, 0.125, 0.03)
ROUNDS = 12  # of reading without computing
PROMPTS = 5  # of which the median counts
PRIME = 7919


def make(folder: Path, layers: int, shape: dict) -> None:
    """Write the model, one tensor at a time."""
    import mlx.nn as nn
    from mlx.utils import tree_flatten

    config = CONFIG | shape | {"num_hidden_layers": 1 + layers}
    model = build(config)
    nn.quantize(model, 64, 4, class_predicate=lambda p, m: hasattr(m, "to_quantized"))
    parameters = dict(tree_flatten(model.parameters()))
    kinds = {
        name: value.dtype
        if value.dtype == mx.uint32 or name.endswith("e_score_correction_bias")
        else mx.bfloat16
        for name, value in parameters.items()
    }
    entries = {name: (NAMES[kinds[name]], value.shape) for name, value in parameters.items()}
    head, starts = build_header(entries, {"format": "mlx"})
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    rng = np.random.default_rng(0)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(head)
        for name in sorted(starts, key=lambda name: starts[name]):
            write(file, rng, name, kinds[name], parameters[name].shape)


def write(file, rng: np.random.Generator, name: str, kind: mx.Dtype, shape: tuple) -> None:
    """Random values of about unit gain; a stacked tensor expert by expert."""
    for _ in range(shape[0] if ".switch_mlp." in name else 1):
        part = shape[1:] if ".switch_mlp." in name else shape
        if kind == mx.uint32:
            values = mx.array(rng.integers(0, 1 << 32, part, np.uint32))
        elif name.endswith(".scales"):
            values = mx.full(part, 0.0026)
        elif name.endswith(".biases"):
            values = mx.full(part, -7.5 * 0.0026)
        elif name.endswith(("norm.weight", "layernorm.weight")):
            values = mx.ones(part)
        else:
            values = mx.array(rng.normal(0, 0.02, part).astype(np.float32))
        if "embed_tokens" in name and kind != mx.uint32:
            values = 50 * values  # tokens differ more than what comes before them: so do experts
        file.write(bytes(memoryview(mx.array(values.astype(kind)).view(mx.uint8))))


def drop(file: Path) -> None:
    """Forget what the page cache has of a file."""
    os.sync()
    with file.open("rb") as opened:
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def peak_bytes() -> int:
    """The most memory this process had, by the system."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def plain_read(folder: Path, experts: int = 24) -> float:
    """Bytes per second of a plain pool of `pread`s over whole experts, pieces of 2 MiB, cold."""
    from concurrent.futures import ThreadPoolExecutor

    drop(folder / "model.safetensors")
    infos = list(expert_tensors(folder).values())
    spans = []
    count = infos[0].shape[0]
    for expert in np.random.default_rng(1).permutation(count)[:experts].tolist():
        for info in infos:
            row = info.nbytes // info.shape[0]
            start = info.start + expert * row
            spans += [(start + a, min(2 << 20, row - a)) for a in range(0, row, 2 << 20)]
    descriptor = os.open(folder / "model.safetensors", os.O_RDONLY)
    buffers = [bytearray(2 << 20) for _ in range(16)]

    def read(job: tuple[int, list[tuple[int, int]]]) -> int:
        number, own = job
        view = memoryview(buffers[number])
        return sum(os.preadv(descriptor, [view[:size]], start) for start, size in own)

    began = time.perf_counter()
    with ThreadPoolExecutor(16) as pool:
        total = sum(pool.map(read, [(i, spans[i::16]) for i in range(16)]))
    os.close(descriptor)
    return total / (time.perf_counter() - began)


def one(folder: Path, share: float) -> dict:
    """Measure one share in this process."""
    config = json.loads((folder / "config.json").read_text())
    capacity = max(config["num_experts_per_tok"], int(config["n_routed_experts"] * share))
    paths = moe_layers(build(config))
    plain = [plain_read(folder)]
    drop(folder / "model.safetensors")
    model, _ = load_model(folder, capacities={p: capacity for p in paths} if share < 1 else {})
    loaded, cache = peak_bytes(), model.make_cache()
    ids = [i * PRIME % config["vocab_size"] for i in range(PROMPT)]
    before = snapshot(model)
    began = time.perf_counter()
    logits = model(mx.array([ids]), cache=cache)[0, -1]
    tokens = [int(logits.argmax())]
    prefill_s, prefill = time.perf_counter() - began, snapshot(model).since(before)
    products = [product_bytes_per_s()]
    before, began = snapshot(model), time.perf_counter()
    for _ in range(TOKENS):
        tokens.append(int(model(mx.array([tokens[-1:]]), cache=cache)[0, -1].argmax()))
    decode_s, decode = time.perf_counter() - began, snapshot(model).since(before)
    products.append(product_bytes_per_s())
    reading = [] if share == 1 else reading_alone(folder, model, plain)
    return {
        "share": share,
        "capacity": capacity if share < 1 else 256,
        "prefill_s": prefill_s,
        "prefill_gb": prefill.read_bytes / 1e9,
        "prefill_wait_s": prefill.wait_s,
        "tokens_per_s": TOKENS / decode_s,
        "hit_rate": decode.hit_rate,
        "gb_per_token": decode.read_bytes / 1e9 / TOKENS,
        "waiting_share": decode.wait_s / decode_s,
        "gb_per_s_waiting": decode.read_bytes / 1e9 / decode.wait_s if decode.wait_s else None,
        "plain_gb_per_s": [speed / 1e9 for speed in plain],
        "reading_alone_gb_per_s": [speed / 1e9 for speed in reading],
        **expected(folder, model, decode.hit_rate, reading + plain, products),
        "slots_gb": sum(
            value.nbytes
            for layer in moe_layers(model).values()
            for p in ("gate_proj", "up_proj", "down_proj")
            for value in layer.switch_mlp[p].values()
            if isinstance(value, mx.array)
        )
        / 1e9,
        "loaded_gb": loaded / 1e9,
        "peak_gb": peak_bytes() / 1e9,
        "text": hashlib.sha256(str(tokens).encode()).hexdigest()[:12],
        "tokens": tokens,
    }


def prompt(folder: Path, share: float, tokens: int) -> dict:
    """A prompt of so many tokens, cold, in turn with the speeds that its forecast is made from."""
    config = json.loads((folder / "config.json").read_text())
    capacity = max(config["num_experts_per_tok"], int(config["n_routed_experts"] * share))
    held = {p: capacity for p in moe_layers(build(config))} if share < 1 else {}
    reads, products = [plain_read(folder)], [product_bytes_per_s(64)]
    model, _ = load_model(folder, capacities=held)
    model(mx.array([[1, 2, 3]])).sum().item()
    ids = mx.array([[i * PRIME % config["vocab_size"] for i in range(tokens)]])
    times, before = [], snapshot(model)
    for _ in range(PROMPTS):
        drop(folder / "model.safetensors")
        began = time.perf_counter()
        mx.eval(model(ids, cache=model.make_cache())[0, -1])
        times.append(time.perf_counter() - began)
        reads.append(plain_read(folder))
        products.append(product_bytes_per_s(64))
    seen, seconds = snapshot(model).since(before), float(np.median(times))
    speeds = Speeds(product_bytes_per_s(), float(np.median(reads)), float(np.median(products)))
    expected_tps = forecast(model_memory(folder)[0], held, speeds, tokens).prefill_tps
    return {
        "share": share,
        "tokens": tokens,
        "tokens_per_s": tokens / seconds,
        "all_tokens_per_s": [tokens / one for one in times],
        "forecast_tokens_per_s": expected_tps,
        "measured_to_forecast": tokens / seconds / expected_tps,
        "read_gb": seen.read_bytes / 1e9 / PROMPTS,
        "waiting_share": seen.wait_s / sum(times),
        "plain_gb_per_s": [speed / 1e9 for speed in reads],
        "product_gb_per_s": [speed / 1e9 for speed in products],
        "peak_gb": peak_bytes() / 1e9,
    }


def reading_alone(folder: Path, model, plain: list[float]) -> list[float]:
    """Bytes per second of layers that get 8 random experts and compute nothing; cold.

    `plain` reads are measured in turn with them.
    """
    chance, speeds = np.random.default_rng(2), []
    for _ in range(3):
        drop(folder / "model.safetensors")
        before, began = snapshot(model), time.perf_counter()
        for _ in range(ROUNDS):
            for layer in moe_layers(model).values():
                experts = chance.permutation(256)[:8]
                list(layer.switch_mlp.slots.groups(experts, np.ones(8)))
        nbytes = snapshot(model).since(before).read_bytes
        speeds.append(nbytes / (time.perf_counter() - began))
        plain.append(plain_read(folder))
    return speeds


def expected(
    folder: Path, model, hit: float, reads: list[float], products: list[float]
) -> dict[str, float]:
    """The forecast from this run's speeds; with choices alike, and with the hit rate that was."""
    found, _ = model_memory(folder)
    held = {path: layer.switch_mlp.in_memory for path, layer in moe_layers(model).items()}
    speeds = Speeds(float(np.median(products)), float(np.median(reads)))
    alike = forecast(found, held, speeds)
    experts = sum(one.per_token * one.expert_bytes for one in found.layers.values())
    missed = (1 - hit) * sum(one.per_token * one.file_bytes for one in found.layers.values())
    known_s = (found.dense_read_bytes + experts) / speeds.memory + missed / speeds.disk
    return {
        "forecast_tokens_per_s": alike.decode_tps[0],
        "forecast_with_this_hit_rate": 1 / known_s,
        "product_gb_per_s": speeds.memory / 1e9,
    }


def snapshot(model):
    """What was read so far."""
    from dataclasses import replace

    from mlx_deepseek.layers.expert_slots import Traffic

    seen = traffic(model)
    return Traffic() if seen is None else replace(seen)


def run(folder: Path, shares: list[float]) -> None:
    """Each share in a process of its own; then whether all texts agree."""
    texts = set()
    for share in shares:
        command = [sys.executable, __file__, "one", str(folder), "--shares", str(share)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(f"share {share}: exit {done.returncode}\n{done.stderr[-2000:]}")
            continue
        result = json.loads(done.stdout)
        texts.add(result["text"])
        print(json.dumps(result))
    print(f"identical text: {len(texts) == 1}")


def records(folder: Path, rounds: int = 4) -> None:
    """Cold reads of 32 experts, as nine parts each and as one record each, in turn."""
    file = folder / "model.safetensors"
    reader, size = FileReader({file}), file.stat().st_size
    chance = np.random.default_rng(3)
    for name, weight in (("V3", 2048 * 7168 // 2), ("V2-Lite", 1408 * 2048 // 2)):
        parts = [weight, weight // 16, weight // 16] * 3  # bfloat16 scales and biases, 64 a group
        for _ in range(rounds):
            speeds = []
            for spans in (parts, [sum(parts)]):
                wanted = [
                    Part(file, 4096 * int(chance.integers(0, (size - n) // 4096)), n, memory)
                    for n in spans * 32
                    for memory in [np.empty(n, np.uint8)]
                ]
                drop(file)
                began = time.perf_counter()
                for i in range(0, len(wanted), 8 * len(spans)):  # eight experts at a time
                    reader.start(wanted[i : i + 8 * len(spans)]).wait()
                speeds.append(32 * sum(parts) / (time.perf_counter() - began) / 1e9)
            print(f"{name}: nine parts {speeds[0]:.2f} GB/s, one record {speeds[1]:.2f} GB/s")


def caches() -> None:
    """Hit rates of a layer's cache on random and on nano's own choices, beside the ideal one."""
    rng = np.random.default_rng(0)
    for zipf in (0.0, 0.5, 1.0, 1.5):
        weights = -zipf * np.log(np.arange(1, 257))
        noise = rng.gumbel(size=(2000, 256))
        trace = np.argsort(-(weights + noise), axis=1)[:, :8]
        for share in SHARES:
            show(f"256 experts, Zipf {zipf}", trace.tolist(), max(8, int(256 * share)))
    for layer, states in nano_states().items():
        trace = [row for _, chosen in states for row in chosen.tolist()]
        for capacity in (len(trace[0]), 6, 8):
            show(f"nano, layer {layer}", trace, capacity)


def show(name: str, trace: list[list[int]], capacity: int) -> None:
    lru, ideal = least_recent(trace, capacity), belady(trace, capacity)
    print(f"{name}, {capacity} in memory: LRU {lru:.1%}, ideal {ideal:.1%}")


def least_recent(trace: list[list[int]], capacity: int) -> float:
    """What the slot table finds."""
    slots, found = Slots(capacity), 0
    for chosen in trace:
        here = [one for one in chosen if one in slots]
        found += len(here)
        slots.use(here)
        slots.fill(slots.claim([one for one in chosen if one not in slots], keep=here))
    return found / sum(map(len, trace))


def belady(trace: list[list[int]], capacity: int) -> float:
    """What a cache finds that knows the future: it gives up what is wanted last."""
    uses: dict[int, list[int]] = {}
    for time_, chosen in enumerate(trace):
        for one in chosen:
            uses.setdefault(one, []).append(time_)
    held: set[int] = set()
    found = 0
    for chosen in trace:
        found += sum(one in held for one in chosen)
        for one in chosen:
            uses[one].pop(0)
        held |= set(chosen)
        spare = sorted(held - set(chosen), key=lambda one: uses[one][0] if uses[one] else 1 << 60)
        held = set(chosen) | set(spare[: max(capacity - len(chosen), 0)])
    return found / sum(map(len, trace))


def nano_states() -> dict[int, list[tuple[mx.array, np.ndarray]]]:
    """What nano's routers saw and chose for its own answers, by layer, answer by answer."""
    import mlx_deepseek as ds
    from mlx_deepseek.nano.tasks import FAMILIES, evaluation_problems

    engine = ds.load("nano", caching=ds.Caching(speculate=0))
    found: dict[int, list[tuple[mx.array, np.ndarray]]] = {}
    for family in FAMILIES:
        for problem in evaluation_problems(family, 3):
            ids = engine.encode(problem.question + problem.reasoning + problem.answer)
            with seen_by(engine.model) as states:
                mx.eval(engine.model(mx.array([ids])))
            for number, (x, chosen) in states.items():
                found.setdefault(number, []).append((x, np.array(chosen)[0]))
    return found


@contextmanager
def seen_by(model):
    """What each router sees and chooses while a block lasts."""
    states = {}
    gates = {i: one.mlp.gate for i, one in enumerate(model.layers) if hasattr(one.mlp, "gate")}

    def noting(number: int, gate):
        def call(x, step=None):
            chosen, weights = gate(x, step)
            states[number] = x, chosen
            return chosen, weights

        return call

    for number, gate in gates.items():
        model.layers[number].mlp.gate = noting(number, gate)
    try:
        yield states
    finally:
        for number, gate in gates.items():
            model.layers[number].mlp.gate = gate


def ahead() -> None:
    """How often the next router, asked one layer early, names an expert that is chosen there."""
    import mlx_deepseek as ds

    engine, states = ds.load("nano"), nano_states()
    for number in sorted(states)[:-1]:
        gate = engine.model.layers[number + 1].mlp.gate
        right = wanted = 0
        for (x, _), (_, chosen) in zip(states[number], states[number + 1], strict=True):
            scores = mx.sigmoid(gate.logits(x)) + gate.e_score_correction_bias
            guess = np.array(mx.argsort(-scores, axis=-1))[0, :, :2]
            right += sum(len(set(a) & set(b)) for a, b in zip(guess, chosen, strict=True))
            wanted += guess.size
        print(f"nano, layer {number} for {number + 1}: {right / wanted:.1%} of two guesses right")


# Machines as sold: gigabytes, and gigabytes per second of memory (M4 Pro, M4 Max, M2 and M3 Ultra).
MACHINES = ((24, 273), (48, 273), (64, 546), (96, 819), (128, 546), (192, 800), (512, 819))
RELEASES = ("DeepSeek-V2-Lite-Chat", "DeepSeek-V2.5", "DeepSeek-V3", "DeepSeek-V4-Flash")
FOR_GPU = 0.75  # of the memory, by default
DISK = 6e9


def table() -> None:
    """What to expect of released models on machines, computed."""
    from mlx_deepseek import catalog, models
    from mlx_deepseek.models.expert_memory import CONTEXT_TOKENS, capacities, memory_of
    from mlx_deepseek.models.sizes import cache_bytes_per_token
    from mlx_deepseek.runtime.memory import fits
    from mlx_deepseek_convert import stored_bytes

    print("| memory | " + " | ".join(RELEASES) + " |\n|---:|" + "---|" * len(RELEASES))
    found = []
    for name in RELEASES:
        config = models.without_mtp(catalog.find(name).config)
        built = models.build(config)
        context = cache_bytes_per_token(built, config) * CONTEXT_TOKENS
        found.append((memory_of(built, stored_bytes(built)), context))
    for gigabytes, bandwidth in MACHINES:
        usable = fits(0, 1, int(gigabytes * 2**30 * FOR_GPU), 1).usable_bytes
        cells = []
        for sizes, context in found:
            room = usable if sizes.nbytes <= usable else usable - context
            chosen = capacities(sizes, room)
            if chosen is None:
                cells.append(f"no: {(sizes.least_bytes + context) / 1e9:.0f} GB at least")
                continue
            got = forecast(sizes, chosen, Speeds(bandwidth * 1e9, DISK))
            low, high = got.decode_tps
            cells.append(
                f"{got.share:.0%}: {low:.1f} to {high:.1f}" if chosen else f"all: {low:.0f}"
            )
        print(f"| {gigabytes} GB, {bandwidth} GB/s | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser()
    whats = ("make", "run", "one", "prompt", "records", "caches", "ahead", "table")
    parser.add_argument("what", choices=whats)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--lite", action="store_true")
    parser.add_argument("--shares", type=float, nargs="+", default=list(SHARES))
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--resident", action="store_true")
    args = parser.parse_args()
    if args.what == "make":
        make(args.folder, args.layers, LITE if args.lite else {})
    elif args.what == "one":
        print(json.dumps(one(args.folder, args.shares[0])))
    elif args.what == "prompt":
        for share in args.shares:
            print(json.dumps(prompt(args.folder, share, args.tokens)), flush=True)
    elif args.what == "caches":
        caches()
    elif args.what == "records":
        records(args.folder)
    elif args.what == "table":
        table()
    elif args.what == "ahead":
        ahead()
    elif args.what == "run":
        run(args.folder, args.shares + ([1.0] if args.resident else []))


if __name__ == "__main__":
    main()
