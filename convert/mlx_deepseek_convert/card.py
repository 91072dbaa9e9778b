"""The README.md of a converted checkpoint: where it comes from and how it is stored."""

import re
from pathlib import Path

from mlx_deepseek_convert.planner import Plan

HUB_FOLDER = re.compile(r"models--([^/]+?)--([^/]+)")


def origin(folder: Path) -> str:
    """The hub id of a folder in the Hugging Face cache; another folder's name."""
    for part in reversed(folder.parts):
        if match := HUB_FOLDER.fullmatch(part):
            return "/".join(match.groups())
    return folder.absolute().name


def model_card(plan: Plan) -> str:
    """Markdown with the metadata that the Hugging Face hub reads."""
    source = origin(plan.source.folder)
    lines = ["---", "library_name: mlx", "pipeline_tag: text-generation", "tags:", "- mlx"]
    if "/" in source:
        lines.append(f"base_model: {source}")
    rows = [f"| {how} | {count:,} |" for how, count in plan.groups().items()]
    lines += [
        "---",
        "",
        f"# {source.split('/')[-1]}, {plan.recipe}",
        "",
        f"Converted by mlx-deepseek from `{source}` with recipe `{plan.recipe}`: "
        f"{plan.parameters:,} parameters at {plan.bits_per_weight:.2f} bits per weight, "
        f"{plan.bytes_out / 1e9:.2f} GB. The source's licence applies.",
        "",
        "| stored as | parameters |",
        "|---|---|",
        *rows,
        "",
        "Use it with `mlx-deepseek chat PATH` or with mlx-lm. Multi-token prediction layers, if "
        "there are any, are in `mtp.safetensors`, which mlx-lm does not read.",
        "",
    ]
    return "\n".join(lines)
