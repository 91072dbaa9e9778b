"""Whatever config.json, a header or an index says: a plan, or an error made for people."""

import json
import random
import shutil
from dataclasses import replace

import pytest

from mlx_deepseek.checkpoint.files import INDEX
from mlx_deepseek.errors import CheckpointError, ConfigError
from mlx_deepseek_convert import convert, plan
from mlx_deepseek_convert.planning.plan import make_plan
from mlx_deepseek_convert.source.checkpoint import open_source
from tests.breadth import examples

NONSENSE = (None, -1, 0, "x", [], {}, 1.5)


@pytest.mark.parametrize(
    "case", ["deepseek_v3_fp8", "deepseek_moe_16b", "r1_0528_qwen3", "deepseek_llm_7b"]
)
@pytest.mark.filterwarnings("ignore:.*encountered in power")
def test_nonsense_in_the_config(goldens_root, case):
    source = open_source(goldens_root / case)
    refused = 0
    for key in source.config:
        for value in NONSENSE:
            try:
                make_plan(replace(source, config={**source.config, key: value}))
            except (CheckpointError, ConfigError):
                refused += 1
    assert refused > 50


@pytest.mark.parametrize("name", ["model-00001-of-00002.safetensors", INDEX])
def test_garbled_headers_and_indexes(goldens_root, tmp_path, name):
    """Single bytes replaced; many hit names, digits and brackets, some hit nothing that matters."""
    folder = tmp_path / "source"
    shutil.copytree(goldens_root / "deepseek_v3", folder)
    original = (folder / name).read_bytes()
    end = 8 + int.from_bytes(original[:8], "little") if name != INDEX else len(original)
    draw = random.Random(11)
    messages = []
    for _ in range(120):
        garbled = bytearray(original)
        for _ in range(draw.randint(1, 3)):
            garbled[draw.randrange(end)] = draw.choice(b'09afz"{}[],:-. \x00\xff')
        (folder / name).write_bytes(garbled)
        try:
            plan(folder)
        except (CheckpointError, ConfigError) as error:
            messages.append(str(error))
    assert len(messages) > 60
    assert all(str(folder) in message for message in messages)


def test_a_config_nested_beyond_reason(goldens_root, tmp_path):
    folder = tmp_path / "source"
    shutil.copytree(goldens_root / "deepseek_v3", folder)
    config = json.loads((folder / "config.json").read_text())
    text = json.dumps(config)[:-1] + ', "x": ' + "[" * 100_000 + "]" * 100_000 + "}"
    (folder / "config.json").write_text(text)
    with pytest.raises(ConfigError):
        plan(folder)


VALUES = (None, -1, 0, 3, 2**63, 1.5, "", "x", "F32", "U32", [], [0], [2, 3], [-1, 4], {}, True)


def mutated(content: bytes, draw: random.Random) -> bytes:
    """JSON, perhaps behind a length, with one value somewhere replaced, renamed or removed."""
    start = 8 if content[8:9] == b"{" else 0
    end = 8 + int.from_bytes(content[:8], "little") if start else len(content)
    tree = json.loads(content[start:end])
    node = tree
    while True:
        key = draw.choice(list(node) if isinstance(node, dict) else range(len(node)))
        if not isinstance(node[key], dict | list) or not node[key] or draw.random() < 0.2:
            break
        node = node[key]
    action = draw.randrange(4)
    if action == 0 and isinstance(node, dict):
        node[str(key)[::-1]] = node.pop(key)
    elif action == 1:
        del node[key]
    else:
        node[key] = draw.choice(VALUES)
    text = json.dumps(tree).encode()
    length = len(text).to_bytes(8, "little") if start else b""
    return length + text + content[end:]


@pytest.fixture(params=["release", "mlx"])
def fuzzed(request, goldens_root, tmp_path):
    """A release in two shards, and a quantized MLX checkpoint."""
    folder = tmp_path / "source"
    if request.param == "release":
        shutil.copytree(goldens_root / "deepseek_v3", folder)
    else:
        convert(goldens_root / "deepseek_v3_fp8", folder, "6bit")
    return folder


@pytest.mark.filterwarnings("ignore:.*encountered in power")
def test_converting_mutations_ends_whole_or_with_nothing(fuzzed, tmp_path):
    """Of a release and of a conversion; no other error, no hang, no leftovers."""
    names = ["config.json", INDEX]
    names += sorted(path.name for path in fuzzed.glob("*.safetensors"))
    originals = {name: (fuzzed / name).read_bytes() for name in names}
    draw = random.Random(2)
    refused = 0
    for _ in range(count := examples(120)):
        name = draw.choice(names)
        (fuzzed / name).write_bytes(mutated(originals[name], draw))
        try:
            convert(fuzzed, tmp_path / "target", "4bit")
            shutil.rmtree(tmp_path / "target")
        except (CheckpointError, ConfigError):
            refused += 1
        assert [path.name for path in tmp_path.iterdir()] == ["source"]
        (fuzzed / name).write_bytes(originals[name])
    assert refused > count / 2
