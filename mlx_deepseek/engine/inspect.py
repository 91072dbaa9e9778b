"""What happens inside a model: its logits, which experts and which earlier tokens its tokens
choose, and what its cache would else cost.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_deepseek.checkpoint.load_weights import evaluate
from mlx_deepseek.errors import ConfigError, PromptError
from mlx_deepseek.generation.options import Picture
from mlx_deepseek.generation.prompt import EncodedPrompt, Prompt, PromptProcessor
from mlx_deepseek.generation.request import Request
from mlx_deepseek.generation.sampling import Sampling
from mlx_deepseek.layers.moe import MoE
from mlx_deepseek.models import language_config
from mlx_deepseek.models.sizes import cache_width
from mlx_deepseek.runtime.compute_thread import ComputeThread
from mlx_deepseek.runtime.hooks import Calls, outputs_of

T = TypeVar("T")

GQA_GROUPS = 8


@dataclass(frozen=True)
class Routing:
    """Which experts a prompt's tokens chose.

    `counts` [M, E] are tokens for each of M MoE layers and E experts, `layers` their places in the
    model; each of `tokens` chose `per_token` experts in each of them: `chosen` [M, L, K].
    """

    layers: tuple[int, ...]
    counts: np.ndarray
    tokens: int
    per_token: int
    chosen: np.ndarray

    @property
    def balance(self) -> tuple[float, ...]:
        """Of each layer, the busiest expert's tokens over the mean; 1 is perfectly even."""
        return tuple(float(row.max() / row.mean()) for row in self.counts)

    @property
    def idle(self) -> tuple[int, ...]:
        """Of each layer, how many experts no token chose."""
        return tuple(int((row == 0).sum()) for row in self.counts)


@dataclass(frozen=True)
class Selection:
    """Which tokens before it each of a prompt's tokens attends to, where an indexer chooses.

    `counts` [L, L] are layers, of `layers` in all, in which the token of a row chose the one of a
    column; each chooses at most `per_token`.
    """

    counts: np.ndarray
    layers: int
    per_token: int


@dataclass(frozen=True)
class CacheWidths:
    """Numbers that one token takes in the cache, over all layers.

    `used` by this model; `mha` with all keys and values of its heads (multi-head attention), `gqa`
    with those of `groups` groups of them (arXiv:2405.04434 §2.1.4).
    """

    used: int
    mha: int
    gqa: int
    groups: int = GQA_GROUPS


class Inspection:
    """What an engine tells about its model, a whole prompt at a time."""

    name: str
    model: nn.Module
    processor: PromptProcessor
    _worker: ComputeThread
    _followers: Any = None  # the machines that have other parts of the model

    def logits(self, prompt: Prompt, images: Picture | Sequence[Picture] = ()) -> mx.array:
        """Teacher-forced logits, float32 [L, V], of token ids or of a rendered prompt."""
        return self._forward(self.model, self.processor.encode(prompt, images))

    def mtp_logits(self, prompt: Prompt) -> mx.array:
        """The first MTP layer's logits, float32 [L - 1, V]; row i predicts token i + 2.

        Raises:
            ConfigError: the checkpoint has no MTP layer.
            PromptError: the prompt has fewer than two tokens.
        """
        function: Any = getattr(self.model, "mtp_logits", None)
        if function is None:
            raise ConfigError(f"{self.name}: this architecture has no multi-token prediction.")
        encoded = self.processor.encode(prompt)
        if len(encoded.ids) < 2:
            raise PromptError(f"The prompt has {len(encoded.ids)} tokens. Expected 2 at least.")
        return self._forward(function, encoded)

    def routing(self, prompt: Prompt, images: Picture | Sequence[Picture] = ()) -> Routing:
        """Which experts the prompt's tokens choose in each MoE layer; empty without such layers."""
        return self._hooked(self.processor.encode(prompt, images), router_hooks, routing)

    def selection(self, prompt: Prompt) -> Selection:
        """Which tokens before them the prompt's tokens choose; of no layers without indexers."""
        encoded = self.processor.encode(prompt)
        count = len(encoded.ids)
        return self._hooked(encoded, indexer_hooks, lambda hooks: selection(hooks, count))

    def _hooked(self, prompt: EncodedPrompt, hooked: Any, summary: Callable[[Any], T]) -> T:
        if self._followers is not None:
            raise ConfigError(
                f"{self.name}: other machines have some of its layers. Expected a model on this "
                "machine alone, to see what its layers choose."
            )
        found: list[T] = []

        def function(ids: mx.array, **options: Any) -> mx.array:
            with hooked(self.model) as hooks:
                out = self.model(ids, **options)
                mx.eval(out)
                found.append(summary(hooks))
            return out

        self._forward(function, prompt)
        return found[-1]

    def _forward(self, function: Any, prompt: EncodedPrompt) -> mx.array:
        evaluate(self.model)
        request = Request(prompt.ids, 1, Sampling(), frozenset(), self.processor.embed(prompt))

        def compute() -> mx.array:
            ids, embeddings = request.part(0, len(prompt.ids))
            more = {} if embeddings is None else {"input_embeddings": embeddings}
            out = function(ids, **more)[0].astype(mx.float32)
            mx.eval(out)
            return out

        return self._worker.call(compute)


def router_hooks(model: Any) -> AbstractContextManager[Mapping[int, Calls]]:
    """What the model's routers choose while a block lasts, by layer."""
    gates = {
        i: layer.mlp.gate for i, layer in enumerate(model.layers) if isinstance(layer.mlp, MoE)
    }
    return outputs_of(gates)


def indexer_hooks(model: Any) -> AbstractContextManager[Mapping[int, Calls]]:
    """What the model's indexers of tokens choose while a block lasts, by layer.

    V4's choose entries of many tokens, which is another picture.
    """
    attentions = [layer.self_attn for layer in model.layers]
    sparse = (i for i, one in enumerate(attentions) if getattr(one, "sparse", False))
    return outputs_of({i: attentions[i].indexer for i in sparse})


def routing(hooks: Mapping[int, Calls]) -> Routing:
    """What routers have noted; computes it, so call it on the thread that computes."""
    counts, chosen = [], []
    for one in hooks.values():
        parts = [np.array(experts) for experts, _ in one.outputs]  # [..., K]
        chosen.append(np.concatenate([part.reshape(-1, part.shape[-1]) for part in parts]))
        counts.append(np.bincount(chosen[-1].ravel(), minlength=one.module.weight.shape[0]))
    if not chosen:
        return Routing((), np.zeros((0, 0), int), 0, 0, np.zeros((0, 0, 0), int))
    tokens, per_token = chosen[0].shape
    return Routing(tuple(hooks), np.stack(counts), tokens, per_token, np.stack(chosen))


def selection(hooks: Mapping[int, Calls], tokens: int) -> Selection:
    """What indexers have noted of a prompt of `tokens`; computes it, as `routing`."""
    counts = np.zeros((tokens, tokens), np.int32)
    earlier = np.tri(tokens, dtype=np.int32)
    for one in hooks.values():
        chosen = one.outputs[-1]
        if chosen is None:  # there were not more than it may choose
            counts += earlier
            continue
        places, allowed = (np.array(part[0]) for part in chosen)  # [L, K]
        rows = np.broadcast_to(np.arange(tokens)[:, None], places.shape)
        np.add.at(counts, (rows[allowed], places[allowed]), 1)
    per_token = next((one.module.config.topk for one in hooks.values()), tokens)
    return Selection(counts, len(hooks), per_token)


def cache_widths(model: nn.Module, config: Mapping[str, Any]) -> CacheWidths:
    """What a token takes in the cache, and would take without latents."""
    layers: Any = model.layers
    used = round(sum(cache_width(layer.self_attn, config) for layer in layers))
    config = language_config(config)
    heads = config["num_attention_heads"]
    plain = config.get("head_dim") or config["hidden_size"] // heads
    key = (config.get("qk_nope_head_dim") or 0) + (config.get("qk_rope_head_dim") or 0) or plain
    each = len(layers) * (key + (config.get("v_head_dim") or plain))
    groups = min(GQA_GROUPS, max(heads // 2, 1))  # of few heads, too, there are groups
    return CacheWidths(used, heads * each, groups * each, groups)
