"""Convert, then calibrate, then publish: a target appears only when both are done."""

import hashlib
import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlx_deepseek.errors import ConfigError
from mlx_deepseek.progress import Progress
from mlx_deepseek_convert.adapters import Merged
from mlx_deepseek_convert.checks import check_target
from mlx_deepseek_convert.files import write_json
from mlx_deepseek_convert.planner import Plan
from mlx_deepseek_convert.quality.calibrate import calibrate
from mlx_deepseek_convert.quality.report import Wanted, sequences
from mlx_deepseek_convert.workspace import RECORD
from mlx_deepseek_convert.write import Report, execute


def convert_calibrated(
    plan: Plan,
    target: Path,
    wanted: Wanted,
    *,
    feedback: bool = True,
    overwrite: bool = False,
    progress: Progress = lambda stage, done, total: None,
) -> Report:
    """Run a plan and round its affine weights for the sequences that `wanted` names.

    `progress` gets "convert" or "calibrate", and bytes. Works in the folder `<target>.plain`;
    interrupted, the next call begins again there.

    Raises:
        CheckpointError, ConfigError: as converting, or the source is not whole on this machine.
    """
    began = time.monotonic()
    target = target.absolute()
    _check_local(plan)
    check_target(plan, target, overwrite)
    batches = sequences(plan.source.folder, wanted, held_out=False)
    plain = target.with_name(f"{target.name}.plain")
    report = execute(
        plan, plain, overwrite=True, progress=lambda done, total: progress("convert", done, total)
    )
    calibrate(
        plan.source.folder,
        plain,
        batches,
        feedback=feedback,
        progress=lambda done, layers: progress(
            "calibrate", done * plan.bytes_out // layers, plan.bytes_out
        ),
    )
    text = str(wanted.text.name) if wanted.text else "built in"
    made = {"text": text, "tokens": sum(batch.ids.size for batch in batches), "feedback": feedback}
    checksums = _note(plain, made)
    _publish(plain, target)
    seconds = time.monotonic() - began
    return replace(report, target=target, checksums=checksums, seconds=seconds)


def _check_local(plan: Plan) -> None:
    if plan.source.remote is not None:
        raise ConfigError(
            f"{plan.source.remote.repo}: calibration reads every layer several times. Download the "
            "checkpoint first (`hf download`), then convert its folder."
        )
    if any(isinstance(tensor, Merged) for tensor in plan.source.tensors.values()):
        raise ConfigError(
            "Calibration cannot see an adapter. Convert with the adapter and recipe bf16 first, "
            "then calibrate a conversion of that folder."
        )


def _note(folder: Path, calibration: dict[str, Any]) -> dict[str, str]:
    """Write the calibration and the weights' new checksums to the record."""
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    record["calibration"] = calibration
    for name in record["sha256"]:
        with (folder / name).open("rb") as file:
            record["sha256"][name] = hashlib.file_digest(file, "sha256").hexdigest()
    write_json(folder / RECORD, record)
    with (folder / "README.md").open("a", encoding="utf-8") as card:
        card.write(f"Rounded for the outputs on {calibration['tokens']:,} tokens of text.\n")
    return record["sha256"]


def _publish(folder: Path, target: Path) -> None:
    old = target.with_name(f"{target.name}.replaced")
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.rename(target, old)
    os.rename(folder, target)
    shutil.rmtree(old, ignore_errors=True)
