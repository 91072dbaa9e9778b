"""Who holds what, as arithmetic: uneven memory, experts on disk, shares, and what is refused."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_deepseek import catalog, models
from mlx_deepseek.distributed.forecast import LinkSpeed, decode_tps
from mlx_deepseek.distributed.hosts_file import read_hosts
from mlx_deepseek.distributed.model_bytes import model_bytes
from mlx_deepseek.distributed.plan import LayerBytes, Machine, ModelBytes, Plan, plan
from mlx_deepseek.distributed.shares import stands_apart
from mlx_deepseek.errors import ConfigError, MemoryLimitError
from mlx_deepseek.models.expert_memory import ExpertLayer
from mlx_deepseek.models.forecast import Speeds

GB = 10**9


def model(layers: int, *, base=GB, experts: ExpertLayer | None = None) -> ModelBytes:
    """Layers of 1 GB each, of which half can be divided, and experts if wanted."""

    def layer(i: int) -> LayerBytes:
        return LayerBytes(GB, GB // 2, 0, {} if experts is None else {f"{i}.switch_mlp": experts})

    return ModelBytes(base, base // 2, tuple(layer(i) for i in range(layers)))


def machines(*sizes: float) -> list[Machine]:
    return [Machine(f"m{i}", int(size * GB)) for i, size in enumerate(sizes)]


def edges(found: Plan) -> list[int]:
    return [found.parts[0].first, *(part.last for part in found.parts)]


def test_layers_go_by_memory():
    assert edges(plan(model(12, base=0), machines(10, 10))) == [0, 6, 12]
    assert edges(plan(model(12, base=0), machines(30, 10, 20))) == [0, 6, 8, 12]
    assert edges(plan(model(12, base=4 * GB), machines(10, 10))) == [0, 4, 12]  # rank 0 has more


@given(
    sizes=st.lists(st.integers(2, 40), min_size=2, max_size=5),
    layers=st.integers(5, 30),
    base=st.integers(0, 3),
)
def test_every_layer_is_somewhere_once_and_fits(sizes, layers, base):
    try:
        found = plan(model(layers, base=base * GB), machines(*sizes))
    except MemoryLimitError:
        # Whole layers fit nowhere better: no machine could take one more.
        spare = [size - (base if rank == 0 else 0) for rank, size in enumerate(sizes)]
        assert sum(spare) < layers or min(spare) < 1
        return
    assert edges(found)[0] == 0
    assert edges(found)[-1] == layers
    for rank, (part, size) in enumerate(zip(found.parts, sizes, strict=True)):
        assert part.first < part.last
        assert part.nbytes == (part.last - part.first + (base if rank == 0 else 0)) * GB
        assert part.nbytes <= size * GB
    assert [part.last for part in found.parts[:-1]] == [part.first for part in found.parts[1:]]


def test_layers_that_share_stay_together():
    """As V4.1's, of which several read what one has compressed."""
    whole = model(7, base=0)
    layers = [replace(one, apart=i in (2, 4, 5)) for i, one in enumerate(whole.layers)]
    shared = replace(whole, layers=tuple(layers))
    assert edges(plan(shared, machines(10, 10))) == [0, 4, 7]
    assert edges(plan(shared, machines(10, 10, 10))) == [0, 2, 5, 7]
    with pytest.raises(ConfigError, match="5 machines for 4 groups of layers"):
        plan(shared, machines(9, 9, 9, 9, 9))


def test_where_layers_of_v41_can_be_apart(golden_config):
    """Where none reads another's entries or candidates; V4's make their own."""
    for case, starts in (("deepseek_v41", [0, 1, 2, 4, 5]), ("deepseek_v4_fp4", [0, 1, 2])):
        layers = models.build(golden_config(case)).layers
        found = [i for i in range(len(layers)) if stands_apart(layers[i:])]
        assert found == starts
    released = models.build(models.without_mtp(catalog.find("DeepSeek-V4.1-Flash").config)).layers
    found = [i for i in range(len(released)) if stands_apart(released[i:])]
    assert found == [0, 1, 2, 8, 14, 20]


def test_experts_stay_on_disk_where_memory_is_short():
    routed = ExpertLayer(experts=10, per_token=2, expert_bytes=GB, file_bytes=GB)
    found = plan(model(4, base=0, experts=routed), machines(22, 10))
    assert edges(found) == [0, 3, 4]
    assert [set(part.capacities.values()) for part in found.parts] == [{6}, {9}]
    with pytest.raises(MemoryLimitError, match="m1: layers 3 to 3 take"):
        plan(model(4, base=0, experts=routed), machines(22, 2))


def test_shares_of_every_layer():
    routed = ExpertLayer(experts=10, per_token=2, expert_bytes=GB, file_bytes=GB)
    found = plan(model(4, experts=routed), machines(30, 30), "tensor")
    assert [part.nbytes for part in found.parts] == [24 * GB, 23 * GB]
    with pytest.raises(MemoryLimitError, match="its share of every layer"):
        plan(model(4, experts=routed), machines(30, 20), "tensor")


def test_what_is_no_plan():
    with pytest.raises(ConfigError, match="3 machines for 2 layers"):
        plan(model(2), machines(9, 9, 9))
    with pytest.raises(ConfigError, match="Expected pipeline or tensor"):
        plan(model(2), machines(9, 9), "rows")


def test_a_plan_survives_its_way_to_others():
    found = plan(model(12), machines(10, 20))
    assert Plan.from_json(json.loads(json.dumps(found.as_json()))) == found


def test_a_checkpoints_bytes_are_all_counted(goldens_root):
    for case in ("deepseek_v3", "r1_distill_qwen"):
        found = model_bytes(goldens_root / case)
        assert len(found.layers) == 3
        assert all(0 < layer.divided < layer.dense for layer in found.layers)
        assert 0 < found.base_read < found.base


def test_times_of_machines_add_up():
    found, link = model(10, base=2 * GB), LinkSpeed(GB, 0.001)
    split = plan(found, machines(20, 20))
    slow, fast = Speeds(100 * GB, 1.0), Speeds(400 * GB, 1.0)
    first, last = (part.last - part.first for part in split.parts)
    seconds = (first + 1) / 100 + last / 400 + 2 * (0.001 + 1e-5)
    assert decode_tps(found, split, [slow, fast], link, 10_000)[0] == pytest.approx(1 / seconds)
    shared = plan(found, machines(20, 20), "tensor")
    seconds = (1 + 10 * (0.5 + 0.25)) / 100 + 2 * 10 * 2 * (0.001 + 0.5e-5)
    assert decode_tps(found, shared, [slow, fast], link, 10_000)[0] == pytest.approx(1 / seconds)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "Expecting value"),
        ("[]", "at least two"),
        ('[{"ssh": "localhost"}, {"ips": []}]', "machine 1 has no name"),
        ('[{"ssh": "localhost"}, {"ssh": "b"}]', "b has no address"),
        ('[{"ssh": "b", "ips": ["10.0.0.2"]}, {"ssh": "localhost"}]', "is not this one"),
        ('{"hosts": [{"ssh": "localhost"}, {"ssh": "localhost"}], "timeout_s": 0}', "timeout_s"),
        ('[{"ssh": "localhost"}, {"ssh": "localhost", "port": 0}]', "has port 0"),
        ('[{"ssh": "localhost"}, {"ssh": "localhost", "python": 3}]', "has python 3"),
    ],
)
def test_a_hosts_file_that_is_none(tmp_path, content, message):
    file = tmp_path / "hosts.json"
    file.write_text(content)
    with pytest.raises(ConfigError, match=message) as caught:
        read_hosts(file)
    assert str(file) in str(caught.value)
    assert "Expected the machines of" in str(caught.value)


def test_a_hosts_file_of_mlx(tmp_path):
    """As `mlx.distributed_config` writes it."""
    file = tmp_path / "hosts.json"
    entry = {"ssh": "mini.local", "ips": ["10.0.0.2", "10.1.0.2"], "rdma": [None, "rdma_en2"]}
    file.write_text(json.dumps({"backend": "ring", "envs": [], "hosts": [
        {"ssh": "localhost", "ips": ["10.0.0.1"]}, entry,
    ]}))  # fmt: skip
    found = read_hosts(file)
    assert found.ring == [["10.0.0.1:32323"], ["10.0.0.2:32324"]]
    assert [host.local for host in found.machines] == [True, False]
    with pytest.raises(ConfigError):
        read_hosts(tmp_path / "none.json")
