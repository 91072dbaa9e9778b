"""What a model's modules are given and give, seen from outside while a block lasts."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

Key = TypeVar("Key")


@contextmanager
def hooked(module: Any, note: Callable[..., None]) -> Iterator[None]:
    """Call `note(output, *inputs, **options)` after each call of `module`.

    It stays the module it is, of a class of its own kind: others also read its weights directly.
    """
    own: Any = type(module)

    class Hooked(own):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            out = super().__call__(*args, **kwargs)
            note(out, *args, **kwargs)
            return out

    module.__class__ = Hooked
    try:
        yield
    finally:
        module.__class__ = own


@dataclass(frozen=True)
class Calls:
    """What a module gave, call after call, not evaluated."""

    module: Any
    outputs: list[Any] = field(default_factory=list)


@contextmanager
def outputs_of(modules: Mapping[Key, Any]) -> Iterator[Mapping[Key, Calls]]:
    """The calls of each of the modules while the block lasts."""
    found = {key: Calls(module) for key, module in modules.items()}
    with ExitStack() as hooks:
        for calls in found.values():
            hooks.enter_context(
                hooked(calls.module, lambda out, *_, calls=calls, **__: calls.outputs.append(out))
            )
        yield found
