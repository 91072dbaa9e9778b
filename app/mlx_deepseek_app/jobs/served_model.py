"""The app's model as the API server asks it, beside the app's own pages."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mlx_deepseek_app.jobs.model_service import ModelService
from mlx_deepseek_app.server.errors import ApiError
from mlx_deepseek_app.server.models_loaded import NamedModel, find_named, short


class ServedModel:
    """The one model in memory; which one that is, the app decides."""

    def __init__(self, service: ModelService) -> None:
        self._service = service

    def listed(self) -> list[str]:
        """The model's name; the one that is being loaded where there is none yet."""
        return [short(self._service.source or self._service.first_source)]

    def named(self, name: str) -> NamedModel:
        """The model that a request means; ApiError if it is another one."""
        default = self.listed()[0]
        return find_named(name, {default: self._service.source}, default)

    def engines(self) -> dict[str, Any]:
        """The model, if there is one."""
        engine = self._service.engine
        return {} if engine is None else {self.listed()[0]: engine}

    @asynccontextmanager
    async def use(self, name: str) -> AsyncIterator[Any]:
        """The engine."""
        engine = self._service.engine
        if engine is None:
            raise ApiError(
                "No model is loaded. Load one on the app's Models page, or ask again when it is.",
                503,
                code="no_model",
                retry_after_s=5,
            )
        self._service.replies.make_way()
        yield engine
