"""A checkpoint on the hub as a source: its headers by range requests, no weights."""

import hashlib
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_url, snapshot_download
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

from mlx_deepseek import hub
from mlx_deepseek.errors import CheckpointError
from mlx_deepseek.hub_progress import Report
from mlx_deepseek.tensor_file import header_length, parse_header
from mlx_deepseek_convert.headers import Header, choose_files, merge, read_index
from mlx_deepseek_convert.source import Remote, Source, assemble, open_source, read_config

# Headers of 160 shards take seconds like this.
CONNECTIONS = 8
FIRST_BYTES = 1 << 18  # nearly every header is shorter
RETRY_AFTER_S = (1, 5)
WEIGHTS = ".safetensors"


def open_remote(repo: str, revision: str | None = None) -> Source:
    """Read a repository's config, index and headers; of the cache, if all of it is there.

    Raises:
        CheckpointError: no such repository, no network, or as `open_source`.
        ConfigError: as `open_source`.
    """
    try:
        found = hub.listing(repo, revision)
    except CheckpointError:
        folder = hub.cached_snapshot(repo, revision)
        if folder is None:
            raise
        return open_source(folder)
    weights = {name: size for name, size in found.sizes.items() if name.endswith(WEIGHTS)}
    remote = Remote(repo, found.commit, weights, found.checksums)
    folder = small_files(remote)
    if all(hub.is_cached(repo, name, remote.commit) for name in remote.sizes):
        return open_source(folder)
    return _assemble(remote, folder, read_config(folder))


def small_files(remote: Remote) -> Path:
    """A folder in the hub's cache with everything but weights.

    Raises:
        CheckpointError: no network.
    """
    patterns = [pattern for pattern in hub.WANTED if not pattern.endswith(WEIGHTS)]
    return Path(
        _explained(
            remote,
            lambda: snapshot_download(
                remote.repo,
                revision=remote.commit,
                allow_patterns=[*patterns, "README.md"],
                tqdm_class=Report().bars(),
            ),
        )
    )


def _assemble(remote: Remote, folder: Path, config: dict[str, Any]) -> Source:
    index = read_index(folder)
    names = choose_files(Path(remote.repo), index, remote.sizes)
    headers = dict(zip(names, _read_headers(remote, names), strict=True))
    infos, metadata = merge(Path(remote.repo), headers, index)
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
        start = _explained(remote, lambda: _first_bytes(remote, name, FIRST_BYTES))
        end = 8 + header_length(path, start[:8], size)
        if end > len(start):
            start = _explained(remote, lambda: _first_bytes(remote, name, end))
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


def _explained(remote: Remote, work: Callable[[], Any]) -> Any:
    """Work that may fail for a moment, and an error that says what to do if it fails for good."""
    for wait_s in (*RETRY_AFTER_S, None):
        try:
            return work()
        except Exception as error:  # which HTTP library raises depends on huggingface_hub's version
            if wait_s is None:
                raise hub.explain(remote.repo, None, error) from error
            time.sleep(wait_s)
    raise AssertionError
