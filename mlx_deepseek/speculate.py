"""Speculative decoding: a drafter guesses tokens, the model checks them all in one pass.

The model's MTP layer drafts (arXiv:2412.19437 §2.2), or a smaller model (arXiv:2211.17192). What is
written never depends on the guesses: the model chooses every token itself, with noise that belongs
to the token's place (see `sampling.Sampler`), and a draft is accepted when it is that very token.
So greedy output is the greedy output, a seed gives the same text with and without drafts, and the
distribution is the model's own. Draft and model share their noise, so they agree nearly as often
as rejection sampling would accept (measured in docs/measurements.md).
"""

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.generate import speculative_generate_step
from mlx_lm.models.base import create_attention_mask
from mlx_lm.models.cache import make_prompt_cache

from mlx_deepseek.cache import KeptCache, common_prefix, trim
from mlx_deepseek.generate import LOOK_BACK, Request, Stopwatch
from mlx_deepseek.pace import Pace

# Tokens without drafts at a time, and as a trial of how fast that is.
PAUSE_TOKENS, TRIAL_TOKENS = 64, 8
DRAFT_MODEL_DEPTH = 3
# Chance that all drafts are right from which the next round need not wait for this one.
LIKELY = 0.7


class MTPDrafter:
    """Drafts with the model's own MTP layer, again and again for more than one token.

    `depth` tokens at a time; None: as many as pay on this machine, perhaps none.
    """

    lag = 1  # the layer's last entry was made with the token that follows a shared prefix

    def __init__(self, model: Any, depth: int | None = None):
        self.layer = model.mtp[0]
        self.pace = Pace(depth)

    def make_cache(self) -> list[Any]:
        """The MTP layer's cache."""
        return [self.layer.make_cache()]

    def read(self, model: Any, ids: mx.array, next_ids: mx.array, kept: KeptCache) -> None:
        """Take a piece of the prompt, and the tokens [1, L] that follow each, into the caches."""
        self.predict(model.hidden(ids, kept.layers), next_ids, kept)

    def write(
        self, model: Any, request: Request, kept: KeptCache, watch: Stopwatch
    ) -> Generator[int]:
        """The tokens after the prompt, whose last one `kept` does not hold yet."""
        choose = Chooser(request)
        hidden = model.hidden(mx.array([list(request.ids[-1:])]), kept.layers)
        new: Any = choose(model.head(hidden[:, -1]), []).tolist()
        choose.note(new)
        yield from new
        current: Round | None = None
        began = time.perf_counter()
        while left := request.max_tokens - len(choose.written):
            if current is None:
                depth = min(self.pace.depth(), left - 1)
                if depth == 0:
                    hidden, new = yield from self.pause(model, kept, choose, hidden, new, left)
                    choose.note(new)
                    yield from new
                    began = time.perf_counter()
                    continue
                following = [mx.array([token]) for token in new]
                current = self.launch(model, kept, choose, hidden, following, 0, depth)
            # The next round starts while this one is computed, as if all its drafts were right.
            depth = min(self.pace.depth(), left - current.depth - 2)
            ahead = None
            if depth > 0 and self.pace.chance(current.depth) > LIKELY:
                following, unwritten = current.following, current.depth + 1
                ahead = self.launch(
                    model, kept, choose, current.hidden, following, unwritten, depth
                )
            new = current.tokens()
            if len(new) <= current.depth:
                ahead = None
                trim(kept.layers, current.base + len(new))
                trim(kept.drafts, current.draft_base)
            hidden = current.hidden[:, : len(new)]
            watch.drafted += current.depth
            watch.accepted += len(new) - 1
            now = time.perf_counter()
            self.pace.note(current.depth, len(new) - 1, now - began)
            began, current = now, ahead
            choose.note(new)
            yield from new

    def launch(
        self,
        model: Any,
        kept: KeptCache,
        choose: "Chooser",
        hidden: mx.array,
        following: Sequence[mx.array],
        unwritten: int,
        depth: int,
    ) -> "Round":
        """Begin to compute `depth` drafts and what the model says to them.

        `following` are the tokens [1] after each of `hidden` [1, L, D]; the last `unwritten` of
        them are not known to `choose` yet.
        """
        state = self.predict(hidden, mx.concatenate(list(following))[None], kept)[:, -1:]
        draft_base = kept.drafts[0].offset
        before = list(following[len(following) - unwritten :])
        drafts: list[mx.array] = []
        while len(drafts) < depth:
            if drafts:
                state = self.predict(state, drafts[-1][None], kept)
            drafts.append(choose(self.layer.shared_head(state)[:, -1], [*before, *drafts]))
        mx.async_eval(drafts)
        # What was made from guesses is made again from what the model says.
        trim(kept.drafts, draft_base)
        base = kept.layers[0].offset
        ids = mx.concatenate([following[-1], *drafts])[None]
        hidden = model.hidden(ids, kept.layers)
        chosen = choose(model.head(hidden)[0], [*before, *drafts], len(drafts))
        # All that is looked at later: a new operation would wait for the round after this one.
        following, verdict = list(mx.split(chosen, depth + 1)), mx.concatenate([chosen, *drafts])
        mx.async_eval(verdict, hidden, following)
        return Round(hidden, following, verdict, base, draft_base)

    def pause(
        self,
        model: Any,
        kept: KeptCache,
        choose: "Chooser",
        hidden: mx.array,
        new: Sequence[int],
        left: int,
    ) -> Generator[int, None, tuple[mx.array, list[int]]]:
        """Some tokens without drafts, each computed while the one before it is shown.

        The MTP layer follows at the end. Returns the state that led to the last one, and that one.
        """
        began = time.perf_counter()
        count = min(left, PAUSE_TOKENS if self.pace.best == 0 else TRIAL_TOKENS)
        states, following = [hidden], [mx.array(list(new))]
        ahead: list[mx.array] = []  # computed, not yet shown
        for _ in range(count):
            states.append(model.hidden(following[-1][None, -1:], kept.layers))
            following.append(choose(model.head(states[-1][:, -1]), ahead))
            mx.async_eval(following[-1], states[-1])
            if ahead:
                shown: Any = ahead.pop().tolist()
                choose.note(shown)
                yield from shown
            ahead.append(following[-1])
        last: Any = ahead.pop().tolist()
        self.pace.note(0, 0, (time.perf_counter() - began) / count)
        seen, ids = mx.concatenate(states[:-1], axis=1), mx.concatenate(following[:-1])
        self.predict(seen, ids[None], kept)
        mx.async_eval([cache.state for cache in kept.drafts])
        return states[-1], last

    def predict(self, hidden: mx.array, next_ids: mx.array, kept: KeptCache) -> mx.array:
        """The MTP layer's states [1, L, D]."""
        mask = create_attention_mask(hidden, kept.drafts[0])
        return self.layer.predict(hidden, next_ids, mask, kept.drafts[0])


@dataclass
class Round:
    """Drafts under examination.

    `hidden` [1, 1 + depth, D] led to `following`, 1 + depth tokens [1] of the model's own; the
    `verdict` is these, then the drafts. Before, the model's caches held `base` tokens; the
    drafter's hold `draft_base` that are certain.
    """

    hidden: mx.array
    following: list[mx.array]
    verdict: mx.array
    base: int
    draft_base: int

    @property
    def depth(self) -> int:
        """How many drafts."""
        return len(self.following) - 1

    def tokens(self) -> list[int]:
        """The model's tokens up to the first that was not drafted."""
        numbers: Any = self.verdict.tolist()
        chosen, drafted = numbers[: self.depth + 1], numbers[self.depth + 1 :]
        return chosen[: common_prefix(chosen, drafted) + 1]


class ModelDrafter:
    """Drafts with a smaller model of the same vocabulary, by mlx-lm's loop."""

    lag = 0

    def __init__(self, model: nn.Module, depth: int | None = None):
        self.model = model
        self.depth = depth or DRAFT_MODEL_DEPTH

    def make_cache(self) -> list[Any]:
        """The smaller model's caches."""
        return make_prompt_cache(self.model)

    def read(self, model: Any, ids: mx.array, next_ids: mx.array, kept: KeptCache) -> None:
        """Take a piece of the prompt into both models' caches."""
        model(ids, cache=kept.layers)
        self.model(ids, cache=kept.drafts)

    def write(
        self, model: Any, request: Request, kept: KeptCache, watch: Stopwatch
    ) -> Generator[int]:
        """The tokens after the prompt, whose last one `kept` does not hold yet."""
        steps: Any = speculative_generate_step(
            mx.array(list(request.ids[-1:])),
            model,
            self.model,
            mx.default_stream(mx.default_device()),  # type: ignore[arg-type]
            num_draft_tokens=self.depth,
            max_tokens=request.max_tokens,
            sampler=request.sampling.sampler(),
            logits_processors=request.prompt_processors(),
            prompt_cache=kept.caches,
        )
        try:
            for token, _, accepted in steps:
                watch.accepted += accepted
                watch.drafted += 0 if accepted else self.depth
                yield token
        finally:
            steps.close()


class Chooser:
    """The token of each place, from the model's logits or from a drafter's."""

    def __init__(self, request: Request):
        self.written: list[int] = []
        self.sampler = request.sampling.sampler()
        self.processors = request.sampling.processors()
        self.before = list(request.ids[-LOOK_BACK:])

    def __call__(self, logits: mx.array, ahead: Sequence[mx.array], drafts: int = 0) -> mx.array:
        """Tokens [N] for logits [N, vocab]: the last after those written and `ahead` ([1] each).

        N is 1 + `drafts`: each row is of one token of `ahead` earlier than the next.
        """
        number = len(self.written) + len(ahead) - drafts
        if self.processors:
            rows = []
            for i in range(len(logits)):
                known = ahead[: len(ahead) - drafts + i]
                ids = mx.concatenate([mx.array([*self.before, *self.written]), *known])
                row = logits[i : i + 1]
                for processor in self.processors:
                    row = processor(ids, row)
                rows.append(row)
            logits = mx.concatenate(rows)
        logprobs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
        return self.sampler.at(logprobs, number)

    def note(self, tokens: Sequence[int]) -> None:
        """Take account of tokens that were written."""
        self.written += tokens
