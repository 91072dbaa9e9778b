"""A checkpoint on the hub as a source: its headers by range requests, no weights."""

import hashlib
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_url
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

from mlx_deepseek.checkpoint import hub
from mlx_deepseek.checkpoint.files import choose_files, merge_headers, read_index, released_config
from mlx_deepseek.checkpoint.hub_errors import explain
from mlx_deepseek.checkpoint.safetensors_header import Header, header_length, parse_header
from mlx_deepseek.errors import CheckpointError
from mlx_deepseek_convert.source.checkpoint import Remote, Source, assemble, open_source

# Headers of 160 shards take seconds like this.
CONNECTIONS = 8
FIRST_BYTES = 1 << 18  # nearly every header is shorter
RETRY_AFTER_S = (1, 5)
WEIGHTS = ".safetensors"
CARD = "README.md"


def open_remote(found: hub.Listing) -> Source:
    """Read a repository's config, index and headers; of the cache, if all of it is there.

    Repositories with `.bin` weights are downloaded: these have their headers in the midst.

    Raises:
        CheckpointError: no network, or as `open_source`.
        ConfigError: as `open_source`.
    """
    if found.is_pickled:
        return open_source(hub.fetch(found))
    weights = {name: size for name, size in found.sizes.items() if name.endswith(WEIGHTS)}
    remote = Remote(found.repo, found.commit, weights, found.checksums)
    folder = small_files(found)
    if all(hub.is_cached(found.repo, name, found.commit) for name in weights):
        return open_source(folder)
    return _assemble(remote, folder, released_config(folder))


def small_files(found: hub.Listing) -> Path:
    """A folder in the hub's cache with everything but weights, and the model card.

    Raises:
        CheckpointError: no network.
    """
    names = [name for name in found.sizes if not name.endswith(WEIGHTS)]

    def get(name: str) -> Path:
        return _explained(found.repo, lambda: hub.fetch_file(found, name))

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        paths = list(pool.map(get, names))
    with suppress(CheckpointError):  # there may be none
        hub.fetch_file(found, CARD)
    folders = [path.parent for path, name in zip(paths, names, strict=True) if "/" not in name]
    return folders[0] if folders else hub.fetch_file(found, "config.json").parent


def _assemble(remote: Remote, folder: Path, config: dict[str, Any]) -> Source:
    index = read_index(folder)
    names = choose_files(Path(remote.repo), index, remote.sizes)
    headers = dict(zip(names, _read_headers(remote, names), strict=True))
    infos, metadata = merge_headers(Path(remote.repo), headers, index)
    used = {name: remote.sizes[name] for name in names}
    remote = Remote(remote.repo, remote.commit, used, remote.checksums)
    return assemble(folder, config, list(infos.values()), metadata, _identity(remote), remote)


def _identity(remote: Remote) -> str:
    """Stays when a commit changes other files: a conversion may take days."""
    digest = hashlib.sha256(remote.repo.encode())
    for name, size in sorted(remote.sizes.items()):
        content = remote.checksums.get(name, remote.commit)
        digest.update(f"\0{name}\0{size}\0{content}".encode())
    return digest.hexdigest()


def _read_headers(remote: Remote, names: Iterable[str]) -> Iterable[Header]:
    def read(name: str) -> Header:
        path, size = Path(remote.repo) / name, remote.sizes[name]
        start = _explained(remote.repo, lambda: _first_bytes(remote, name, FIRST_BYTES))
        end = 8 + header_length(path, start[:8], size)
        if end > len(start):
            start = _explained(remote.repo, lambda: _first_bytes(remote, name, end))
        return parse_header(path, start[8:end], size)

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return list(pool.map(read, names))


def _first_bytes(remote: Remote, name: str, count: int) -> bytes:
    url = hf_hub_url(remote.repo, name, revision=remote.commit)
    headers = {**build_hf_headers(), "Range": f"bytes=0-{count - 1}"}
    content = b""
    with get_session().stream("GET", url, headers=headers, follow_redirects=True) as response:
        hf_raise_for_status(response)
        for part in response.iter_bytes():  # a server may answer with the whole file
            content += part
            if len(content) >= count:
                break
    return content[:count]


def _explained(repo: str, work: Callable[[], Any]) -> Any:
    """Work that may fail for a moment, and an error that says what to do if it fails for good."""
    for wait_s in (*RETRY_AFTER_S, None):
        try:
            return work()
        except Exception as error:  # which HTTP library raises depends on huggingface_hub's version
            if wait_s is None:
                known = isinstance(error, CheckpointError)
                raise error if known else explain(repo, None, error) from error
            time.sleep(wait_s)
    raise AssertionError
