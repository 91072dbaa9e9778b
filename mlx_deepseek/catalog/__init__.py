"""Every released checkpoint as data: sizes, context, licence, prompt format, sampling, config."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class RecommendedSampling:
    """What the authors recommend; None where they say nothing. `source` tells where it stands."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    source: str = ""


# What a family was trained for besides conversation.
SKILLS: Mapping[str, tuple[str, ...]] = {
    "Coder": ("code",),
    "Coder-V2": ("code",),
    "OCR": ("documents",),
    "Prover": ("proofs",),
}


@dataclass(frozen=True)
class Entry:
    """One released checkpoint.

    `config_provenance`: how sure `config` is: sha256_exact, copied, sibling, partial or memory.
    Parameters are counts, as published (`params_source`); the context length is in tokens.
    `cache_bytes_per_token` is what `models.sizes` counts in bfloat16, kept because counting takes
    seconds for all; None where the architecture is unknown.
    """

    repo: str
    family: str
    variant: str
    released: str | None
    license: str | None
    params_total: int
    params_active: int | None
    params_source: str | None
    context_length: int | None
    cache_bytes_per_token: int | None
    model_type: str
    prompt_format: str | None
    sampling: RecommendedSampling
    config_provenance: str
    config: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The repository's name without its owner."""
        return self.repo.split("/")[-1]

    @property
    def skills(self) -> tuple[str, ...]:
        """What it was trained for besides conversation: code, documents, proofs."""
        return SKILLS.get(self.family, ())


@cache
def entries() -> tuple[Entry, ...]:
    """All checkpoints, oldest family first."""
    text = files(__name__).joinpath("checkpoints.json").read_text(encoding="utf-8")
    return tuple(
        Entry(**{**row, "sampling": RecommendedSampling(**row["sampling"])})
        for row in json.loads(text)
    )


def find(name: str) -> Entry | None:
    """The checkpoint that `name` means: a hub id, its name alone, or a conversion of it.

    Conversions append to the name: "mlx-community/DeepSeek-R1-Distill-Qwen-7B-4bit" is the 7B.
    """
    wanted = _plain(name.rstrip("/").split("/")[-1])
    best: Entry | None = None
    for entry in entries():
        known = _plain(entry.name)
        suffix = wanted.removeprefix(known)
        exact = wanted == known
        converted = wanted.startswith(known) and re.fullmatch(CONVERSION, suffix) is not None
        if exact or (converted and (best is None or len(known) > len(_plain(best.name)))):
            best = entry
            if exact:
                return entry
    return best


# What converters append: bits, a mode, the word mlx, a data type, a group size.
CONVERSION = (
    r"(-(mlx|hf|\d+bit|\d+b|q\d+(f\d+)?|bf16|fp16|fp32|fp8|f16|float16|mxfp[48]|nvfp4|dwq|awq"
    r"|mixed|gs\d+|[\d.]+bpw))+"
)


def suggest(name: str, count: int = 3) -> list[str]:
    """Hub ids that look like `name`, for error messages."""
    from difflib import get_close_matches

    known = {_plain(entry.name): entry.repo for entry in entries()}
    close = get_close_matches(_plain(name.split("/")[-1]), known, n=count, cutoff=0.5)
    return [known[match] for match in close]


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")
