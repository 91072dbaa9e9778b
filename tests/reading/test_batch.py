"""Rows of a batch get the tokens that they get alone, whenever they come and go."""

from itertools import pairwise

import mlx.core as mx
import pytest

from mlx_deepseek import models
from mlx_deepseek.cache import KeptCache
from mlx_deepseek.generate import Request, tokens
from mlx_deepseek.reading.batch import Batch, decode, prefill
from mlx_deepseek.reading.no_repeat import NoRepeat
from mlx_deepseek.sampling import Sampling

TEXT = {"model_type": "llama", "hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 64}
TEXT |= {"num_attention_heads": 2, "intermediate_size": 48, "rms_norm_eps": 1e-6}


@pytest.fixture(params=["llama", "deepseek_moe_16b", "deepseek_v2_lite"])
def model(request, golden_config):
    """Tiny models with mlx-lm's attention, ours, and the latent one; experts in two of them."""
    mx.random.seed(3)
    config = TEXT if request.param == "llama" else golden_config(request.param)
    built = models.build(config)
    sharper = {"lm_head.weight": built.lm_head.weight * 40}  # no ties between tokens
    built.load_weights(list(sharper.items()), strict=False)
    mx.eval(built.parameters())
    return built


def requests(model, lengths, max_tokens=12, stop_ids=(), **sampling):
    chosen = Sampling(temperature=0.0, **sampling)
    return [
        Request(
            [(7 * i + 3 * j) % 60 + 1 for j in range(length)],
            max_tokens,
            chosen,
            frozenset(stop_ids),
        )
        for i, length in enumerate(lengths)
    ]


def alone(model, request):
    steps = tokens(model, request, KeptCache(model))
    return [step.token for step in steps if step.token is not None]


def together(model, wanted, rows):
    written = {i: [] for i in range(len(wanted))}
    for token in decode(model, iter(wanted), rows):
        written[token.number].append(token.token)
    return list(written.values())


@pytest.mark.parametrize("rows", [1, 2, 3, 9])
def test_equal_to_alone(model, rows):
    wanted = requests(model, [5, 17, 1, 9, 30])
    assert together(model, wanted, rows) == [alone(model, request) for request in wanted]


def test_rows_that_end_at_different_times(model):
    wanted = requests(model, [5, 17, 2, 9, 30])
    stop = alone(model, wanted[1])[4]  # ends the second after at most five tokens
    wanted = requests(model, [5, 17, 2, 9, 30], stop_ids=[stop])
    expected = [alone(model, request) for request in wanted]
    assert len(expected[1]) <= 5
    assert together(model, wanted, 3) == expected


def test_logits_are_those_of_the_row_alone(model):
    short, long = requests(model, [4, 21])
    batch = Batch(model)
    first = [batch.add(0, short).token, batch.add(1, long).token]
    both = model(mx.array(first)[:, None], cache=batch._caches)[:, -1]
    for row, request in enumerate((short, long)):
        caches, _ = prefill(model, request)
        single = model(mx.array([[first[row]]]), cache=caches)[0, -1]
        assert mx.abs(both[row] - single).max().item() <= 1e-4 * mx.std(single).item()


def test_processors_for_all_rows(model):
    rule = NoRepeat(size=2, window=40)

    def repeats(rows):
        pairs = [list(pairwise(row)) for row in rows]
        return sum(len(found) - len(set(found)) for found in pairs)

    wanted = requests(model, [5, 17, 9], max_tokens=40)
    written = {i: [] for i in range(3)}
    for token in decode(model, iter(wanted), 2, [rule]):
        written[token.number].append(token.token)
    assert repeats(written.values()) == 0 < repeats(together(model, wanted, 2))


def test_reasons(model):
    (request,) = requests(model, [5], max_tokens=3)
    found = list(decode(model, iter([request]), 2))
    assert [token.finish for token in found] == ["", "", "length"]
    (request,) = requests(model, [5], stop_ids=[found[0].token])
    (only,) = decode(model, iter([request]), 2)
    assert only.finish == "stop"


def test_processors_see_the_row(model):
    plain, other = requests(model, [5, 9], repetition_penalty=1.5)
    assert together(model, [plain, other], 2) == [alone(model, plain), alone(model, other)]


def test_prompts_are_read_when_there_is_room(model):
    taken = []

    def lazily():
        for request in requests(model, [3, 3, 3], max_tokens=2):
            taken.append(request)
            yield request

    found = decode(model, lazily(), 2)
    for _ in range(2):
        next(found)
    assert len(taken) == 2
    assert len(list(found)) == 4
    assert len(taken) == 3
