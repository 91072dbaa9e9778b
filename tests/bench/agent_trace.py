"""An agent's trace: how many tokens of its prompts are read again, here and by mlx_lm.server.

    python -m tests.bench.agent_trace [--turns 200] [--tokens 30000] [--who ours mlx-lm]

A conversation grows turn by turn to `--tokens`: the agent sends all that was said and a result, and
keeps the answer it gets. Now and then it changes an early block (a list of open files near the
beginning of its instructions), asks again after an error, or asks something short aside; half way,
the server is restarted. The model is tiny and untrained, so only tokens count.

Per server: tokens of all prompts, how many were not cached, and how many were new: those after the
longest beginning that an earlier prompt has in common with this one.
"""

import argparse
import json
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten
from transformers import AutoTokenizer

from mlx_deepseek import models
from mlx_deepseek.cache.prompt_cache import common_prefix
from mlx_deepseek.catalog.embedded import checkpoint_path
from tests.bench.servers import served

CHAT = "/v1/chat/completions"
SMALL = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "moe_intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "q_lora_rank": None,
    "kv_lora_rank": 32,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 16,
    "v_head_dim": 16,
    "num_nextn_predict_layers": 0,
    "max_position_embeddings": 65536,
}
WORDS = [
    "open",
    "read",
    "write",
    "test",
    "file",
    "line",
    "build",
    "error",
    "warning",
    "done",
    "path",
    "value",
    "list",
    "call",
]
TOOL = {"type": "function", "function": {"name": "shell", "description": "Run a command."}}
TOOL["function"] |= {"parameters": {"type": "object", "properties": {"cmd": {"type": "string"}}}}


def make_model(folder: Path) -> None:
    """A checkpoint with nano's tokenizer, and weights that nobody trained."""
    shutil.copytree(checkpoint_path(), folder, dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text()) | SMALL
    config.pop("quantization", None)
    config.pop("quantization_config", None)
    (folder / "config.json").write_text(json.dumps(config))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["model_max_length"] = config["max_position_embeddings"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    mx.random.seed(1)
    built = models.build(config)
    weights = {name: w.astype(mx.float32) for name, w in tree_flatten(built.parameters())}
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})


class Agent:
    """What it says, turn by turn; the same for the same seed and the same answers."""

    def __init__(self, turns: int, tokens: int):
        self.random = random.Random(7)
        self.turns = turns
        each = tokens // (turns + 20)
        self.begin, self.rest = self.text(8 * each), self.text(12 * each)
        self.result_tokens = each
        self.open = self.text(20)
        self.messages: list[dict] = []

    def text(self, tokens: int) -> str:
        """Words of about so many tokens."""
        return " ".join(self.random.choice(WORDS) for _ in range(tokens // 2))

    def prompts(self) -> Iterator[tuple[list[dict], bool]]:
        """What is asked, and whether the answer is kept."""
        for turn in range(self.turns):
            if turn % 50 == 49:
                self.open = self.text(20)
            result = self.text(self.result_tokens)
            self.messages.append({"role": "user", "content": f"Result {turn}: {result}"})
            told = [{"role": "system", "content": f"{self.begin}\nOpen: {self.open}\n{self.rest}"}]
            if turn % 23 == 11:
                yield [{"role": "user", "content": f"A title for turn {turn}, please."}], False
            if turn % 17 == 5:  # an error; it asks again
                yield [*told, *self.messages], False
            yield [*told, *self.messages], True

    def heard(self, answer: dict) -> None:
        """Keep an answer to the conversation."""
        self.messages.append({"role": "assistant", "content": answer.get("content") or ""})


def run(who: str, folder: Path, blocks: Path, args: argparse.Namespace) -> None:
    """The whole trace, and what was read of its prompts."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    agent = Agent(args.turns, args.tokens)
    known: list[list[int]] = []
    asked = agent.prompts()
    total = read = needed = count = 0
    began = time.perf_counter()
    for part in range(2):
        with served(who, folder, ["--prefix-cache", str(blocks)]) as server:
            while count < (part + 1) * args.turns // 2:
                messages, kept = next(asked)
                body = {"model": server.model, "messages": messages, "tools": [TOOL]}
                body |= {"max_tokens": 24, "temperature": 0, "thinking": {"type": "disabled"}}
                answer = server.client.post(CHAT, json=body).raise_for_status().json()
                usage = answer["usage"]
                cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
                ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
                ids = ids if isinstance(ids, list) else ids["input_ids"]
                common = max((common_prefix(one, ids) for one in known), default=0)
                total += usage["prompt_tokens"]
                read += usage["prompt_tokens"] - cached
                needed += max(1, len(ids) - common)
                known.append(ids)
                if kept:
                    agent.heard(answer["choices"][0]["message"])
                    count += 1
    seconds = time.perf_counter() - began
    longest = max(map(len, known))
    print(
        f"{who:<8}{len(known):5} prompts, longest {longest:,}, all {total:,} tokens; not cached "
        f"{read:,} ({read / total:.2%}), new {needed:,} ({needed / total:.2%}), read again "
        f"{max(0, read - needed) / total:.2%}; {seconds:.0f} s",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=30_000)
    parser.add_argument("--who", nargs="+", default=["ours", "mlx-lm"])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_model(Path(folder) / "model")
        for who in args.who:
            run(who, Path(folder) / "model", Path(folder) / "blocks", args)


if __name__ == "__main__":
    main()
