"""The catalog is complete, consistent, and finds what users type."""

import pytest

from mlx_deepseek import catalog, models, prompts

ENTRIES = catalog.entries()


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_entries_are_consistent(entry):
    assert entry.repo.count("/") == 1
    assert entry.params_total > 1e9
    assert entry.params_active is None or entry.params_active <= entry.params_total
    assert entry.config_provenance in {"sha256_exact", "copied", "sibling", "partial", "memory"}
    if models.known(entry.config):
        assert prompts.get(entry.prompt_format)
        assert entry.context_length
        assert entry.config["model_type"] == entry.model_type


def test_every_supported_config_builds():
    built = 0
    for entry in ENTRIES:
        if models.known(entry.config):
            assert models.build(entry.config) is not None
            built += 1
    assert built >= 50


@pytest.mark.parametrize(
    ("name", "repo"),
    [
        ("deepseek-ai/DeepSeek-V3", "DeepSeek-V3"),
        ("deepseek-v3-0324", "DeepSeek-V3-0324"),
        ("mlx-community/DeepSeek-R1-Distill-Qwen-7B-4bit", "DeepSeek-R1-Distill-Qwen-7B"),
        ("mlx-community/DeepSeek-V3-0324-4bit", "DeepSeek-V3-0324"),
        ("someone/DeepSeek-V3.1-Terminus-mlx-6bit", "DeepSeek-V3.1-Terminus"),
        ("./models/deepseek-coder-6.7b-base/", "deepseek-coder-6.7b-base"),
        ("DeepSeek-V2-Lite-Chat-mxfp4", "DeepSeek-V2-Lite-Chat"),
        ("mlx-community/deepseek-coder-6.7b-instruct-hf-4bit-mlx", "deepseek-coder-6.7b-instruct"),
        ("mlx-community/DeepSeek-V3.1-Terminus-4bit-gs32", "DeepSeek-V3.1-Terminus"),
        ("mlx-community/DeepSeek-R1-0528-Qwen3-8B-4bit-DWQ", "DeepSeek-R1-0528-Qwen3-8B"),
    ],
)
def test_find(name, repo):
    entry = catalog.find(name)
    assert entry is not None
    assert entry.name == repo


@pytest.mark.parametrize(
    "name", ["gpt-2", "DeepSeek-V9", "DeepSeek-V3-mine", "DeepSeek-R1-abliterated-4bit", ""]
)
def test_find_does_not_guess(name):
    assert catalog.find(name) is None


def test_suggestions_for_typing_errors():
    assert "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B" in catalog.suggest("DeepSek-R1-Distil-Qwen-7b")


def test_recommended_sampling():
    r1 = catalog.find("DeepSeek-R1")
    assert r1 is not None
    assert (r1.sampling.temperature, r1.sampling.top_p) == (0.6, 0.95)
    assert r1.sampling.max_tokens == 32768
