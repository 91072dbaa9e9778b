"""Which models can be chosen: built-in ones, downloaded ones, converted folders."""

import re
from dataclasses import dataclass
from pathlib import Path

from mlx_deepseek.catalog.embedded import FOLDERS
from mlx_deepseek.checkpoint.files import read_json
from mlx_deepseek.checkpoint.local_models import local_models
from mlx_deepseek.checkpoint.repository import RECORD
from mlx_deepseek.errors import ConfigError

KINDS = {"embedded": "built in", "downloaded": "downloaded", "converted": "converted"}


@dataclass(frozen=True)
class Choice:
    """A model on this disk: what `load` takes, what people call it, and bytes of its weights."""

    source: str
    name: str
    kind: str
    nbytes: int


def offered() -> list[Choice]:
    """What loads without the network."""
    found: dict[str, Choice] = {}
    for model in local_models():
        name = model.source
        if model.kind == "converted":
            if _of_embedded(model.folder):
                continue
            name, _, fingerprint = model.folder.name.rpartition("-")
            if not re.fullmatch(r"[0-9a-f]{8,}", fingerprint):
                name = model.folder.name
            name = name.replace("--", "/")
        choice = Choice(model.source, name, KINDS[model.kind], _weights_bytes(model.folder))
        found.setdefault(model.source, choice)
    return list(found.values())


def choices(current: str = "") -> list[tuple[str, str]]:
    """(label, source) pairs for a dropdown."""
    found = {
        one.source: f"{one.name} ({one.kind}{', offline' if one.kind == 'built in' else ''})"
        for one in offered()
    }
    if current:
        found.setdefault(current, current)
    return [(label, source) for source, label in found.items()]


def _of_embedded(folder: Path) -> bool:
    """Whether a conversion was made from a built-in checkpoint, which is offered by its name."""
    kind = folder.name.partition("-")[0]
    own = {embedded.parent.name: embedded.name for embedded in FOLDERS.values()}
    try:
        return kind in own and read_json(folder / RECORD).get("source") == own[kind]
    except ConfigError:
        return False


def _weights_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))
