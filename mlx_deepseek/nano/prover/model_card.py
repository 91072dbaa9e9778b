"""The model card that travels with nano-prover's weights."""

from collections.abc import Mapping
from typing import Any

from mlx_deepseek.nano.prover.data import LONGEST

CARD = """---
license: mit
library_name: mlx
tags: [deepseek_v3, mlx, moe, tiny, lean4, theorem-proving]
---

# nano-prover

DeepSeek-Prover V1.5's way of working, with the architecture of DeepSeek-V3, in miniature:
{parameters} parameters, BF16, {experts} routed experts, {per_token} per token, and a shared one. It
was **not** made by DeepSeek and contains none of their weights. It goes on with a Lean 4 file whose
proof is open, in V1.5's prompt, with or without a comment that shows the goals, so that the same
search drives it and the 7B. It proves nothing: Lean does, on your machine.

**What it can do:** small statements of five families that `rfl`, `decide`, `omega` and `simp`
mostly leave open, in Lean's core language: numbers that exist (`witness`), functions that the file
defines by recursion (`recursion`), with accumulators (`generalised`), hypotheses
applied one after another (`chain`), and cases taken apart and put together (`cases`).

**What it cannot do:** mathematics. It has read nothing but the exercises that
`mlx_deepseek.nano.prover` draws, knows no Mathlib, and no lemma's name but a few of lists. It was
trained on at most {longest} tokens of statement and proof together, with the goals as the
demonstration's Lean prints them.

{measured}

Training: `mlx-deepseek nano train nano-prover --start nano --out FOLDER`; measuring: `mlx-deepseek
nano eval nano-prover`.
"""
MEASURED = """Proved, in percent of held-out statements that tactics leave (`nano eval nano-prover
--count 16`); "tree" is RMaxTS, with goals shown. No statement of training differs from these in
names alone.

| family | left | greedy | pass@1 | pass@8 | pass@32 | tree@8 | tree@32 |
|---|---:|---:|---:|---:|---:|---:|---:|
| witness | 16 of 16 | 44 | 48 | 77 | 88 | 88 | 88 |
| recursion | 16 of 16 | 100 | 100 | 100 | 100 | 100 | 100 |
| generalised | 16 of 16 | 100 | 100 | 100 | 100 | 100 | 100 |
| chain | 11 of 16 | 54 | 46 | 71 | 82 | 64 | 91 |
| cases | 12 of 16 | 17 | 14 | 44 | 58 | 33 | 50 |
| all | 71 of 80 | 66 | 65 | 81 | 87 | 80 | 87 |

The goal of 85 % at pass@8 is missed."""


def model_card(config: Mapping[str, Any], parameters: int) -> str:
    """The card of a checkpoint with `config` and so many parameters."""
    return CARD.format(
        experts=config["n_routed_experts"],
        per_token=config["num_experts_per_tok"],
        parameters=f"{parameters / 1e6:.2f} million",
        longest=LONGEST,
        measured=MEASURED,
    )
