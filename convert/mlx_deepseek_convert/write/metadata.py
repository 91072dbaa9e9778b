"""Everything beside the weights: tokenizer, config, index, model card, the converter's record."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from mlx_deepseek.checkpoint.files import INDEX, MTP_FILE
from mlx_deepseek.checkpoint.hub import TOKENIZER
from mlx_deepseek.checkpoint.repository import RECORD
from mlx_deepseek_convert.planning.plan import Plan
from mlx_deepseek_convert.write.disk import write_json
from mlx_deepseek_convert.write.model_card import model_card, origin

# What a user of the checkpoint needs beside weights; never code.
METADATA = (
    *TOKENIZER,
    "generation_config.json",
    "chat_template*",
    "LICENSE*",
    "vae/config.json",  # JanusFlow's, where it lies beside the weights
    "vae/*.safetensors",
)


def write_metadata(plan: Plan, folder: Path, checksums: Mapping[str, str]) -> None:
    """Write them to `folder`; those that the source has are copied."""
    for pattern in METADATA:
        for path in sorted(plan.source.folder.glob(pattern)):
            if path.is_file():
                copy = folder / path.relative_to(plan.source.folder)
                copy.parent.mkdir(exist_ok=True)
                shutil.copyfile(path, copy)
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
