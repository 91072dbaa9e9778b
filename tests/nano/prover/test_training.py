"""nano-prover's tokenizer, rows and training steps."""

import json
from itertools import islice
from random import Random
from typing import Any

import mlx.core as mx
import pytest

from mlx_deepseek.catalog.embedded import NANO_PROVER, checkpoint_path
from mlx_deepseek.cli import main
from mlx_deepseek.nano.prover.config import prover_config
from mlx_deepseek.nano.prover.data import LONGEST, asked, continued, row
from mlx_deepseek.nano.prover.exercise import Exercise
from mlx_deepseek.nano.prover.families import FAMILIES, training
from mlx_deepseek.nano.prover.states import FILE, Verified
from mlx_deepseek.nano.prover.tokenizer import VOCAB, tokenizer_config, tokenizer_of
from mlx_deepseek.prompts import for_checkpoint
from mlx_deepseek.proving.policy import ModelPolicy
from mlx_deepseek.proving.session import ProofRequest
from mlx_deepseek.proving.statement import read_theorem
from tests.proving.test_policy import Model

TOKENIZER = tokenizer_of(checkpoint_path(NANO_PROVER))
SPLIT = Exercise(
    "cases", "", "theorem t (p q : Prop) (h : p ∧ q) : q ∧ p := by",
    "  constructor\n  · exact h.2\n  · exact h.1",
)  # fmt: skip
GOAL = "case left\nx : Nat\nh : Exists fun x => x = 1\n⊢ q"
STATES = {family: [Verified(SPLIT, (("  constructor\n", GOAL),))] for family in FAMILIES}


def test_any_text_comes_back_and_digits_stand_alone():
    texts = [asked(one) + one.proof for f in FAMILIES for one in islice(training(f, Random(1)), 20)]
    for text in [
        *texts,
        "theorem 定理 {ι : Sort*} : ∑ i, f i ≤ π := by\n\tnorm_num [*] -- é",
        " \n\n  x",
    ]:
        assert TOKENIZER.decode(TOKENIZER.encode(text).ids, skip_special_tokens=False) == text
    tokens = TOKENIZER.encode("  | n + 1 => 1207 * n").tokens
    assert [t for t in tokens if any(c.isdigit() for c in t)] == list("11207")
    assert TOKENIZER.get_vocab_size() == VOCAB


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_are_what_the_search_will_ask(family):
    random = Random(2)
    rows = [row(TOKENIZER, STATES, random, family) for _ in range(20)]
    assert all(len(ids) <= LONGEST for ids, _, _ in rows)
    for ids, prompt, _ in rows:
        text = TOKENIZER.decode(ids[prompt:], skip_special_tokens=False)
        assert text.startswith(" ")
        assert text.endswith("\n```<｜end▁of▁sentence｜>")


def test_prompts_are_those_of_the_policy():
    theorem = read_theorem(SPLIT.statement)
    model: Any = Model("prover_v15", "  rfl")
    seen = {continued(STATES["cases"][0], Random(seed))[0] for seed in range(8)}
    for goal in (GOAL, GOAL.replace("Exists fun x =>", "∃ x,")):
        ModelPolicy(model).write([ProofRequest(theorem, 0, "  constructor\n", goal)])
    ModelPolicy(model).write([ProofRequest(theorem, 0)])
    first, second, whole = (one.prompt for one in model.asked)
    assert seen == {first, second}
    assert whole == asked(SPLIT)


def test_the_folder_names_its_format():
    assert for_checkpoint(prover_config(), tokenizer_config(8)).id == "prover_v15"


def test_a_run_starts_from_nano_and_is_exported(tmp_path, capsys, monkeypatch):
    lines = [
        {"exercise": vars(SPLIT) | {"family": family}, "steps": [["  constructor\n", GOAL]]}
        for family in FAMILIES
    ]
    (tmp_path / FILE).write_text("\n".join(map(json.dumps, lines)))
    TOKENIZER.save(str(tmp_path / "tokenizer.json"))
    command = ["nano", "train", "nano-prover", "--start", "nano", "--tokens", "384"]
    assert main([*command, "--steps", "2", "--out", str(tmp_path)]) == 0
    assert "Trained nano-prover is in" in capsys.readouterr().out
    tensors: Any = mx.load(str(tmp_path / "checkpoint" / "model.safetensors"))
    assert tensors["lm_head.weight"].shape == (VOCAB, prover_config()["hidden_size"])
    assert all(mx.isfinite(value).all().item() for value in tensors.values())
