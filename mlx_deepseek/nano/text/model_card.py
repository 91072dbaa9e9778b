"""The model card that travels with nano's weights."""

from collections.abc import Mapping
from typing import Any

from mlx_deepseek.nano.tasks import FAMILIES
from mlx_deepseek.nano.text.data import LONGEST

CARD = """---
license: mit
library_name: mlx
tags: [deepseek_v3, mlx, moe, tiny]
language: [en, zh]
---

# nano

The default model of mlx-deepseek, small enough to travel inside the package. It is real and
trained, with the architecture of DeepSeek-V3 in miniature: Multi-head Latent Attention with
compressed queries, keys and values; {experts} routed experts in {groups} groups, {per_token} per
token, and a shared one; sigmoid routing kept balanced by a correction bias without auxiliary
loss; one multi-token prediction layer. {parameters} parameters, BF16. It was **not** made by
DeepSeek and contains none of their weights.

It answers in the R1 chat format: reasoning between think tags, then the answer.

**What it can do:** {families}. Numbers of up to four digits;
English, and a few phrasings in Chinese.

**What it cannot do:** anything else. It has read no text but the exercises that
`mlx_deepseek.nano.tasks` generates, knows no facts, and says so when asked. Wordings unlike those
it was trained on may confuse it; docs/measurements.md says how often. It was trained on at most two
turns and {longest} tokens.

Decode greedily (temperature 0): every step of its arithmetic has one right continuation.

Training: `mlx-deepseek nano train --out FOLDER`; measuring: `mlx-deepseek nano eval`.
"""


def model_card(config: Mapping[str, Any], parameters: int) -> str:
    """The card of a checkpoint with `config` and so many parameters."""
    return CARD.format(
        experts=config["n_routed_experts"],
        groups=config["n_group"],
        per_token=config["num_experts_per_tok"],
        parameters=f"{parameters / 1e6:.2f} million",
        families=", ".join(name for name in FAMILIES if name != "beyond"),
        longest=LONGEST,
    )
