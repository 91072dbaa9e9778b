"""One server over nano for all tests of the APIs."""

from collections.abc import Iterator

import pytest

import mlx_deepseek as ds
from mlx_deepseek_app.server.models_loaded import LoadedModels
from mlx_deepseek_app.server.site import build
from tests.app.server.serving import serving


@pytest.fixture(scope="session")
def models() -> Iterator[LoadedModels]:
    found = LoadedModels(ds.load, ["nano"], pinned=["nano"])
    yield found
    found.close()


@pytest.fixture(scope="session")
def address(models: LoadedModels) -> Iterator[str]:
    with serving(build(models)) as url:
        yield url
