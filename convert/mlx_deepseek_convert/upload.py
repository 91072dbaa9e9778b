"""A converted checkpoint to the Hugging Face hub, with its model card."""

import hashlib
from pathlib import Path

from mlx_deepseek.checkpoint.files import read_json
from mlx_deepseek.checkpoint.repository import RECORD
from mlx_deepseek.errors import CheckpointError
from mlx_deepseek_convert.write.model_card import with_quality

QUALITY = "quality.json"


def upload(folder: Path, repo: str, *, private: bool = False) -> str:
    """Send a conversion to the repository `repo`, made if need be; its address.

    The folder's `quality.json`, names to numbers, becomes a table in the model card.

    Raises:
        CheckpointError: not a conversion, damaged since, or the hub refuses.
    """
    from huggingface_hub import HfApi

    from mlx_deepseek.checkpoint import hub  # huggingface_hub is slow to import

    hub.require_hub_id(repo)
    check_whole(folder)
    card = folder / "README.md"
    if (folder / QUALITY).is_file():
        quality = read_json(folder / QUALITY, CheckpointError)
        card.write_text(with_quality(card.read_text(encoding="utf-8"), quality), encoding="utf-8")
    try:
        api = HfApi()
        address = api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            commit_message="Converted by mlx-deepseek",
            ignore_patterns=[".*"],
        )
    except Exception as error:  # which HTTP library raises depends on huggingface_hub's version
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{repo}: the upload failed ({reason}). Check the network and `hf auth login`, then "
            "upload again: what the hub has is not sent twice."
        ) from error
    return str(address)


def check_whole(folder: Path) -> None:
    """Refuse a folder that is no conversion, or whose weights changed since.

    Raises:
        CheckpointError: says which file.
    """
    if not (folder / RECORD).is_file():
        raise CheckpointError(f"{folder}: has no {RECORD}. Expected a converted checkpoint.")
    record = read_json(folder / RECORD, CheckpointError)
    sums = record.get("sha256")
    if not isinstance(sums, dict) or not sums:
        raise CheckpointError(f"{folder / RECORD}: has no checksums. Convert the checkpoint again.")
    for name, expected in sums.items():
        path = folder / Path(name).name
        if not path.is_file():
            raise CheckpointError(f"{path}: missing. Convert the checkpoint again.")
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != expected:
                raise CheckpointError(f"{path}: changed since the conversion. Convert again.")
