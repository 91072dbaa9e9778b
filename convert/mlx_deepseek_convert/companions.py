"""Everything beside the weights: tokenizer, config, index, model card, the converter's record."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from mlx_deepseek_convert.card import model_card, origin
from mlx_deepseek_convert.files import write_json
from mlx_deepseek_convert.headers import INDEX, MTP_FILE
from mlx_deepseek_convert.planner import Plan
from mlx_deepseek_convert.workspace import RECORD

# What a user of the checkpoint needs beside weights; never code.
COMPANIONS = (
    "tokenizer*.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "generation_config.json",
    "chat_template*",
    "LICENSE*",
)


def write_companions(plan: Plan, folder: Path, checksums: Mapping[str, str]) -> None:
    """Write them to `folder`; those that the source has are copied."""
    for pattern in COMPANIONS:
        for path in sorted(plan.source.folder.glob(pattern)):
            if path.is_file():
                shutil.copyfile(path, folder / path.name)
    tables = tensor_names(plan)
    weight_map = {
        tensor: name for name, tensors in tables.items() if name != MTP_FILE for tensor in tensors
    }
    total = sum(job.nbytes for name, jobs in plan.files.items() if name != MTP_FILE for job in jobs)
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    record = {
        "converter": "mlx-deepseek",
        "source": origin(plan.source),
        "recipe": plan.recipe,
        "recipe_detail": plan.recipe_detail,
        "parameters": plan.parameters,
        "bits_per_weight": round(plan.bits_per_weight, 3),
        "groups": plan.groups(),
        "exact": plan.exact_parameters,
        "files": {name: len(tensors) for name, tensors in tables.items()},
        "sha256": dict(sorted(checksums.items())),
    }
    write_json(folder / INDEX, index)
    write_json(folder / "config.json", dict(sorted(plan.config.items())))
    write_json(folder / RECORD, record)
    (folder / "README.md").write_text(model_card(plan), encoding="utf-8")


def tensor_names(plan: Plan) -> dict[str, list[str]]:
    """The tensors of each weight file."""
    return {
        name: [tensor[0] for job in jobs for output in job.outputs for tensor in output.tensors()]
        for name, jobs in plan.files.items()
    }
