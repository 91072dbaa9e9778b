"""The catalog as this machine sees it: what each model can do, where it is, what of it fits."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants, scan_cache_dir

from mlx_deepseek import catalog, models
from mlx_deepseek.catalog.embedded import NANO, NANO_OCR, NANO_PROVER
from mlx_deepseek.checkpoint.conversion_cache import cache_folder, conversions, unfinished
from mlx_deepseek.checkpoint.local_models import cached_models, local_models
from mlx_deepseek.checkpoint.repository import repo_of
from mlx_deepseek.errors import DeepSeekError
from mlx_deepseek.models.expert_memory import CONTEXT_TOKENS
from mlx_deepseek.prompts import FORMATS
from mlx_deepseek.runtime import memory
from mlx_deepseek.runtime.chips import published_bandwidth

# Best first; what is offered is the first that fits.
RECIPES = tuple(memory.ESTIMATED_BITS)
COMFORTABLE = 4096  # tokens of context that a recommendation leaves room for


@dataclass(frozen=True)
class RecipeFit:
    """A model stored with a recipe on this machine; `context` is the longest in tokens.

    `least_bytes` are what it takes in memory if its routed experts may stay on disk. `bound_tps`
    are the tokens per second at which the weights that a token needs are read from memory.
    """

    recipe: str
    weights_bytes: int
    cache_bytes_per_token: int
    context: int
    usable_bytes: int
    least_bytes: int
    bound_tps: float | None = None

    @property
    def streams(self) -> bool:
        """Whether it works here because experts stay on disk."""
        return not self.fits and self.least_bytes <= self.usable_bytes

    @property
    def fits(self) -> bool:
        """Whether an answer of some length fits."""
        return self.context > 0

    @property
    def reason(self) -> str:
        """Where the memory goes, for people."""
        weights, usable = gigabytes(self.weights_bytes), gigabytes(self.usable_bytes)
        if not self.fits:
            return f"needs {weights} for its weights; {usable} can be used here"
        cached = gigabytes(self.context * self.cache_bytes_per_token)
        return f"{weights} weights, {cached} cache at {self.context:,} tokens, of {usable}"


@dataclass(frozen=True)
class Card:
    """One released model; `folders` are its conversions on this disk, `downloaded` its source.

    `begun` are the recipes of conversions that were paused or broke off; a `built_in` one is part
    of the package, and takes `nbytes`.
    """

    repo: str
    name: str
    family: str
    parameters: int
    active: int | None
    context: int | None
    licence: str
    abilities: tuple[str, ...]
    runs: bool
    fits: tuple[RecipeFit, ...] = ()
    downloaded: bool = False
    folders: tuple[Path, ...] = ()
    begun: tuple[str, ...] = ()
    released: str = ""
    built_in: bool = False
    nbytes: int = 0

    @property
    def best(self) -> RecipeFit | None:
        """The best recipe that leaves room for a conversation; None if none does."""
        wanted = min(COMFORTABLE, self.context or COMFORTABLE)
        roomy = [fit for fit in self.fits if fit.context >= wanted and fit.recipe in ADVISED]
        return roomy[0] if roomy else next((fit for fit in self.fits if fit.fits), None)

    @property
    def streamed(self) -> RecipeFit | None:
        """The recipe for a model that does not fit, if its experts may stay on disk."""
        if self.best is not None:
            return None
        return next((fit for fit in self.fits if fit.recipe == STREAMED and fit.streams), None)

    @property
    def here(self) -> bool:
        """Whether anything of it is on this disk."""
        return self.built_in or self.downloaded or bool(self.folders)


# Above 8 bits nothing is gained that a reader would notice; below 4 much is lost.
ADVISED = ("8bit", "6bit", "4bit")
# Bytes that a token waits for count more than the last bit of quality.
STREAMED = "4bit"


def cards(machine_bytes: int | None = None, bandwidth: float | None = None) -> list[Card]:
    """The built-in models, and all released ones, newest families last as in the catalog.

    `bandwidth` of the memory in bytes per second is as published for this machine, unless given.
    """
    machine = memory.machine_memory_bytes() if machine_bytes is None else machine_bytes
    bandwidth = bandwidth or published_bandwidth()
    downloaded = {repo.lower() for repo in cached_models()}
    converted = converted_folders()
    released = [
        Card(
            repo=entry.repo,
            name=entry.name,
            family=entry.family,
            parameters=entry.params_total,
            active=entry.params_active,
            context=entry.context_length,
            licence=short_licence(entry.license),
            abilities=abilities(entry),
            runs=models.known(entry.config),
            fits=recipe_fits(entry, machine, bandwidth) if models.known(entry.config) else (),
            downloaded=entry.repo.lower() in downloaded,
            folders=tuple(converted.get(entry.repo.lower(), ())),
            begun=tuple(recipe for recipe in RECIPES if unfinished(entry.repo, recipe)),
            released=entry.released or "",
        )
        for entry in catalog.entries()
    ]
    return [*built_in(), *released]


def built_in() -> list[Card]:
    """The models that are part of the package."""
    able = {
        NANO: ("chat", "thinking"),
        NANO_OCR: ("pictures", "documents"),
        NANO_PROVER: ("proves",),
    }
    return [
        Card(
            repo=model.source,
            name=model.source,
            family="built in",
            parameters=0,
            active=None,
            context=None,
            licence="MIT",
            abilities=able[model.source],
            runs=True,
            built_in=True,
            nbytes=sum(file.stat().st_size for file in model.folder.glob("*.safetensors")),
        )
        for model in local_models()
        if model.kind == "embedded"
    ]


def recipe_fits(
    entry: catalog.Entry, machine_bytes: int, bandwidth: float | None = None
) -> tuple[RecipeFit, ...]:
    """The model in every recipe; sizes are estimates."""
    per_token = entry.cache_bytes_per_token
    if per_token is None:
        return ()
    context = entry.context_length or COMFORTABLE
    found = []
    for recipe in RECIPES:
        weights = memory.estimate_bytes(entry.params_total, recipe)
        fit = memory.fits(weights, per_token, machine_bytes, context)
        least = weights
        active = memory.estimate_bytes(entry.params_active or entry.params_total, recipe)
        if active < weights:
            least = active + per_token * min(context, CONTEXT_TOKENS)
        most = bandwidth / active if bandwidth else None
        sizes = (weights, per_token, fit.context, fit.usable_bytes, least)
        found.append(RecipeFit(recipe, *sizes, most))
    return tuple(found)


def abilities(entry: catalog.Entry) -> tuple[str, ...]:
    """What a model can do, in words for filters: chat, thinking, tools, code, pictures..."""
    style = FORMATS.get(entry.prompt_format or "")
    found = {
        "chat": style is not None and style.supports_chat,
        "thinking": style is not None and style.supports_thinking,
        "tools": style is not None and style.supports_tools,
        "fills in code": "code" in entry.skills and bool(style and style.fim_markers),
        "pictures": "vision_config" in entry.config,
        "documents": "documents" in entry.skills,
        "draws": "gen_vision_config" in entry.config,
        "proves": "proofs" in entry.skills,
    }
    return tuple(name for name, has in found.items() if has)


def converted_folders() -> dict[str, list[Path]]:
    """Converted folders in the cache, by the repository they come from, in lower case."""
    found: dict[str, list[Path]] = {}
    for folder in conversions():
        repo = repo_of(folder)
        if repo is not None:
            found.setdefault(repo.lower(), []).append(folder)
    return found


def matching(
    found: Iterable[Card], words: str = "", ability: str = "", *, only_fitting: bool = False
) -> list[Card]:
    """Cards with all of `words` in name, family or licence, and that can do `ability`."""
    wanted = words.lower().split()
    return [
        card
        for card in found
        if all(word in f"{card.repo} {card.family} {card.licence}".lower() for word in wanted)
        and (not ability or ability in card.abilities)
        and (not only_fitting or card.built_in or card.best is not None)
    ]


def source(card: Card, recipe: str) -> tuple[str, str | None]:
    """What to load for a card, and with which recipe: a conversion, if its download is gone."""
    if card.built_in:
        return card.repo, None
    made = [folder for folder in card.folders if f"-{recipe}-" in folder.name]
    if made and not card.downloaded:
        return str(made[0]), None
    return card.repo, recipe


def delete(card: Card) -> int:
    """Remove a model's conversions and its download from the disk; returns bytes freed."""
    freed = sum(map(_removed, card.folders))
    return freed + (delete_download(card.repo) if card.downloaded else 0)


def delete_download(repo: str) -> int:
    """Remove a repository from the hub's cache; returns bytes freed."""
    found = [
        one
        for one in scan_cache_dir(constants.HF_HUB_CACHE).repos
        if one.repo_id.lower() == repo.lower()
    ]
    commits = [revision.commit_hash for one in found for revision in one.revisions]
    strategy = scan_cache_dir(constants.HF_HUB_CACHE).delete_revisions(*commits)
    strategy.execute()
    return strategy.expected_freed_size


def discard(card: Card) -> int:
    """Remove what paused conversions of a model have left; returns bytes freed."""
    folders = [folder for recipe in RECIPES for folder in unfinished(card.repo, recipe)]
    return sum(map(_removed, folders))


def free_disk_bytes() -> int | None:
    """Room where conversions go; None if that cannot be known."""
    try:
        return shutil.disk_usage(cache_folder()).free
    except (OSError, DeepSeekError):
        return None


def _removed(folder: Path) -> int:
    """Remove a folder; returns the bytes that it took, of files with holes those written."""
    files = [path.stat() for path in folder.rglob("*") if path.is_file()]
    shutil.rmtree(folder)
    return sum(min(file.st_size, 512 * file.st_blocks) for file in files)


def usable_memory_bytes() -> int:
    """What a model and its cache may take here."""
    return memory.fits(0, 1, memory.machine_memory_bytes(), 1).usable_bytes


def gigabytes(nbytes: float) -> str:
    """12.3 GB."""
    return f"{nbytes / 1e9:.1f} GB" if nbytes < 1e11 else f"{nbytes / 1e9:,.0f} GB"


def billions(count: int) -> str:
    """1.3B."""
    return f"{count / 1e9:.1f}B" if count < 1e10 else f"{count / 1e9:,.0f}B"


def short_licence(text: str | None) -> str:
    """A licence's name without its date and terms."""
    return (text or "licence unknown").split(" (")[0].replace("Model License v1.0", "Licence")
