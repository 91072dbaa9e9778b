"""The README.md of a converted checkpoint: where it comes from and how it is stored."""

import re
from collections.abc import Mapping

from mlx_deepseek import catalog
from mlx_deepseek.checkpoint.repository import cached_repo, is_hub_id
from mlx_deepseek.runtime.units import in_words
from mlx_deepseek_convert.planning.plan import Plan
from mlx_deepseek_convert.source.checkpoint import Source

LICENCE = re.compile(r"^license(?:_name|_link)?: *[\w./:#-]+ *$")
QUALITY = "## Quality"


def origin(source: Source) -> str:
    """The hub id of a source on the hub or in the Hugging Face cache; another folder's name."""
    if source.remote is not None:
        return source.remote.repo
    return cached_repo(source.folder) or source.folder.absolute().name


def licence_lines(source: Source) -> list[str]:
    """The card's metadata on the licence: as the source's card has it, else the catalog."""
    card = source.folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    parts = text.split("---\n")
    stated = parts[1].splitlines() if len(parts) > 2 and not parts[0].strip() else []
    if lines := [line.rstrip() for line in stated if LICENCE.fullmatch(line)]:
        return lines
    entry = catalog.find(origin(source))
    name = (entry.license or "") if entry is not None else ""
    if not name:
        return []
    return [f"license: {name.lower()}"] if " " not in name else ["license: other"]


def model_card(plan: Plan) -> str:
    """Markdown with the metadata that the Hugging Face hub reads."""
    source = origin(plan.source)
    lines = ["---", "library_name: mlx", "pipeline_tag: text-generation", "tags:", "- mlx"]
    if is_hub_id(source):
        lines += [f"base_model: {source}", "base_model_relation: quantized"]
    lines += licence_lines(plan.source)
    rows = [f"| {how} | {count:,} |" for how, count in plan.groups().items()]
    commit = f" at commit `{plan.source.remote.commit}`" if plan.source.remote else ""
    exact = plan.exact_parameters / plan.parameters
    lines += [
        "---",
        "",
        f"# {source.split('/')[-1]}, {plan.recipe}",
        "",
        f"Converted by mlx-deepseek from `{source}`{commit} with recipe `{plan.recipe}`: "
        f"{plan.parameters:,} parameters at {plan.bits_per_weight:.2f} bits per weight, "
        f"{in_words(plan.bytes_out)}. The source's licence applies.",
        "",
        "| stored as | parameters |",
        "|---|---|",
        *rows,
        "",
        *([f"{exact:.1%} of the parameters have the source's own codes.", ""] if exact else []),
        "SHA-256 checksums of the weight files are in `conversion.json`.",
        "",
        "Use it with `mlx-deepseek chat PATH` or with mlx-lm. Multi-token prediction layers, if "
        "there are any, are in `mtp.safetensors`, which mlx-lm does not read.",
        "",
    ]
    return "\n".join(lines)


def with_quality(card: str, quality: Mapping[str, object]) -> str:
    """A card with a table of measurements, in place of an earlier one."""
    head = card.partition(f"\n{QUALITY}\n")[0].rstrip()
    rows = [f"| {name} | {value} |" for name, value in quality.items()]
    return "\n".join([head, "", QUALITY, "", "| measured | value |", "|---|---|", *rows, ""])
