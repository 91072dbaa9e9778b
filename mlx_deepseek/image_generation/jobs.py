"""Drawing many prompts to a folder: what is asked, where it goes, and what is there already."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mlx_deepseek.errors import DeepSeekError, PromptError
from mlx_deepseek.image_generation.draw import Picture
from mlx_deepseek.runtime.whole_file import write_whole

# What a line of JSON may set, as `Engine.draw` names it, and of what kind it is.
OPTIONS: Mapping[str, type] = {
    "n": int,
    "seed": int,
    "guidance": float,
    "temperature": float,
    "steps": int,
    "best_of": int,
}
SLUG_CHARACTERS = 40


@dataclass(frozen=True)
class DrawJob:
    """One prompt and how it is drawn: options of `Engine.draw`, its seed among them."""

    prompt: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def paths(self, folder: Path, model: str) -> list[Path]:
        """A file for each picture; another prompt, model or option gives other names."""
        about = json.dumps([model, self.prompt, {**self.options, "seed": None}], sort_keys=True)
        digest = hashlib.sha256(about.encode()).hexdigest()[:8]
        slug = re.sub(r"\W+", "-", self.prompt).strip("-")[:SLUG_CHARACTERS].rstrip("-")
        first, n = self.options["seed"], self.options.get("n") or 1
        if self.options.get("best_of"):
            ends = [f"{first}-best{rank + 1}" for rank in range(n)]
        else:
            ends = [str(first + i) for i in range(n)]
        return [folder / f"{slug or 'picture'}-{digest}-{end}.png" for end in ends]


def read_jobs(path: Path, options: Mapping[str, Any]) -> list[DrawJob]:
    """The jobs of a file: a prompt a line, or JSON objects with "prompt" and options of their own.

    Raises:
        PromptError: the file cannot be read, or a line says something else.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(
            f"{path}: cannot be read ({error}). Expected prompts, one a line."
        ) from None
    jobs = [
        _job(line, f"{path}, line {number + 1}", options)
        for number, line in enumerate(lines)
        if line.strip()
    ]
    if not jobs:
        raise PromptError(f"{path}: no prompts. Expected one a line, or JSON objects.")
    return jobs


def _job(line: str, where: str, options: Mapping[str, Any]) -> DrawJob:
    if not line.lstrip().startswith("{"):
        return DrawJob(line.strip(), options)
    try:
        content = json.loads(line)
        prompt = content.pop("prompt")
    except (ValueError, KeyError, RecursionError) as error:
        raise PromptError(
            f'{where}: no JSON object with a "prompt" ({error}). Expected one, such as '
            '{"prompt": "a red bicycle", "seed": 7}.'
        ) from None
    wrong = [] if isinstance(prompt, str) else ["prompt"]
    for name, value in content.items():
        kind = OPTIONS.get(name)
        if not (type(value) is kind or (kind is float and type(value) is int)):
            wrong.append(name)
    if wrong:
        raise PromptError(
            f"{where}: {', '.join(wrong)} is not known or no number. Expected a text as prompt, "
            f"and numbers for {', '.join(OPTIONS)}."
        )
    return DrawJob(prompt, {**options, **content})


def save(picture: Picture, path: Path) -> None:
    """Write a picture whole or not at all.

    Raises:
        DeepSeekError: the disk is full, or the folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, picture.save)
    except OSError as error:
        raise DeepSeekError(
            f"{path}: cannot be written ({error}). Choose another folder, or make room."
        ) from error


def records(pictures: Sequence[Picture], paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """What programs are told of pictures."""
    for picture, path in zip(pictures, paths, strict=True):
        score = {} if picture.score is None else {"score": round(picture.score, 4)}
        yield {"path": str(path), **asdict(picture.origin), **score}
