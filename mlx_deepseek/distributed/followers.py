"""The other machines' parts of one model, as rank 0 sees them: layers among its own."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlx_deepseek.cache.remote_cache import RemoteCache
from mlx_deepseek.distributed.group import Group
from mlx_deepseek.distributed.states import arrays_of, described, state_of, tap_of
from mlx_deepseek.layers.step import Step


class ModelFollowers:
    """What a model's caches and layers have the other machines do."""

    forgets = False  # whether their caches do not go back to every token

    def __init__(self, group: Group, number: int, mode: str):
        self.group, self.number, self.mode = group, number, mode

    def tell(self, deed: str, **facts: Any) -> None:
        """Have something done before the next step."""
        self.group.tell(self.number, deed, facts)

    def least(self, deed: str, **facts: Any) -> int:
        """The least of what the others answer."""
        answers = self.group.ask(deed, model=self.number, **facts)
        return min(answer["count"] for answer in answers[1:])

    def forget(self, cache: int) -> None:
        """Nobody needs a cache any more."""
        self.tell("forget", cache=cache)

    def unload(self) -> None:
        """Let the others' parts go."""
        if self.group.lost is None:
            self.group.ask("unload", model=self.number)

    def bounds(self) -> list[dict[str, float]]:
        """Of each other machine: bytes of weights that a token reads, and bytes copied per s."""
        return self.group.ask("bounds", model=self.number)[1:]

    def step(self, state: Any, step: Step | None, cache: Any) -> None:
        """Let the others compute with the state of the tokens of a step.

        Raises:
            HostsError: a machine is lost.
        """
        numbers = [None, None] if step is None else [step.ids, step.types]
        ids, types = (None if one is None else one.astype(mx.int32) for one in numbers)
        arrays = arrays_of(state)
        self.group.say(
            step={
                "model": self.number,
                "cache": None if cache is None else cache.number,
                "ids": described(ids),
                "types": described(types),
                "state": [described(one) for one in arrays],
            }
        )
        for one in (ids, types, *arrays):
            if one is not None:
                self.group.link.send(one)
        if cache is not None:
            cache.advance(arrays[0].shape[1])


class Elsewhere(nn.Module):
    """A layer that lets the other machines compute; `returns`: it waits for their state.

    Their layers leave so many `taps` for a drafter.
    """

    use_sliding = False  # what mlx-lm asks of layers
    self_attn = SimpleNamespace(cache_width=0)  # nothing of it is cached here

    def __init__(self, followers: ModelFollowers, *, returns: bool, taps: int = 0):
        super().__init__()
        self.followers = followers
        self.returns = returns
        self.taps = taps

    def __call__(self, x: Any, mask: Any = None, cache: Any = None) -> Any:
        """The state after the others' layers; x, where they share all layers."""
        step = mask if isinstance(mask, Step) else None
        self.followers.step(x, step, cache)
        if not self.returns:
            return x
        link = self.followers.group.link
        state = state_of([link.receive(one.shape, one.dtype) for one in arrays_of(x)])
        for _ in range(self.taps):
            assert step is not None, "what is left for a drafter is left in a step"
            step.shared.setdefault("taps", []).append(link.receive(*tap_of(x)))
        return state

    def make_cache(self) -> RemoteCache:
        """What the others hold of no tokens yet."""
        return RemoteCache(self.followers, "new", bits=None)


class Computed(nn.Module):
    """The last of the layers that all machines share: computed even where nobody needs it.

    Prompts need nothing after their caches, but the other machines wait for our part.
    """

    def __init__(self, layer: Any):
        super().__init__()
        self.layer = layer

    def __call__(self, *args: Any, **options: Any) -> mx.array:
        """As the layer."""
        x = self.layer(*args, **options)
        mx.async_eval(x)
        return x

    @property
    def make_cache(self) -> Callable[[], Any]:
        """The layer's, if it has one."""
        return self.layer.make_cache

    @property
    def use_sliding(self) -> bool:
        """What mlx-lm asks of layers."""
        return getattr(self.layer, "use_sliding", False)

    @property
    def self_attn(self) -> Any:
        """The layer's attention."""
        return self.layer.self_attn

    @property
    def mlp(self) -> Any:
        """The layer's MLP or experts."""
        return self.layer.mlp
