"""The README.md of a converted checkpoint: where it comes from and how it is stored."""

import re

from mlx_deepseek_convert.planner import Plan
from mlx_deepseek_convert.source import Source

HUB_FOLDER = re.compile(r"models--([^/]+?)--([^/]+)")


def origin(source: Source) -> str:
    """The hub id of a source on the hub or in the Hugging Face cache; another folder's name."""
    folder = source.folder
    if source.remote is not None:
        return source.remote.repo
    for part in reversed(folder.parts):
        if match := HUB_FOLDER.fullmatch(part):
            return "/".join(match.groups())
    return folder.absolute().name


def model_card(plan: Plan) -> str:
    """Markdown with the metadata that the Hugging Face hub reads."""
    source = origin(plan.source)
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
