"""What names mean: folders, hub ids, names of the catalog."""

import json

import pytest

from mlx_deepseek.checkpoint import hub, hub_errors, resolve
from mlx_deepseek.checkpoint.repository import repo_of
from mlx_deepseek.errors import DeepSeekError


@pytest.mark.parametrize(
    ("source", "repo"),
    [
        ("deepseek-ai/DeepSeek-R1", "deepseek-ai/DeepSeek-R1"),
        ("mlx-community/DeepSeek-R1-4bit", "mlx-community/DeepSeek-R1-4bit"),
        ("DeepSeek-R1", "deepseek-ai/DeepSeek-R1"),
        ("deepseek-r1", "deepseek-ai/DeepSeek-R1"),
        ("DeepSeek-R1-4bit", None),  # whose conversion would be meant?
        ("./DeepSeek-R1", None),
        ("~/DeepSeek-R1", None),
        ("a/b/c", None),
        ("", None),
    ],
)
def test_hub_ids(source, repo):
    assert resolve.hub_id(source) == repo


def test_a_folder_knows_where_it_comes_from(tmp_path):
    plain = tmp_path / "anything"
    plain.mkdir()
    assert resolve.locate(plain) == resolve.ResolvedModel(plain, "anything")
    (plain / "conversion.json").write_text(json.dumps({"source": "deepseek-ai/DeepSeek-V2-Lite"}))
    found = resolve.locate(plain)
    assert (found.name, found.repo) == ("deepseek-ai/DeepSeek-V2-Lite",) * 2
    assert found.entry is not None
    assert found.entry.repo == "deepseek-ai/DeepSeek-V2-Lite"


def test_a_folder_of_the_hubs_cache(tmp_path):
    folder = tmp_path / "models--mlx-community--DeepSeek-R1-Distill-Qwen-7B-4bit/snapshots/abc"
    folder.mkdir(parents=True)
    found = resolve.locate(folder)
    assert found.name == "mlx-community/DeepSeek-R1-Distill-Qwen-7B-4bit"
    assert found.entry is not None
    assert found.entry.repo == "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"


@pytest.mark.parametrize("text", ["", "[]", '{"source": 3}', '{"source": "a folder"}', "{}"])
def test_a_note_that_says_nothing(tmp_path, text):
    (tmp_path / "conversion.json").write_text(text)
    assert repo_of(tmp_path) is None


def test_a_name_unknown_to_the_hub_gets_suggestions(monkeypatch):
    def fetch(repo, revision, progress):
        raise hub_errors.NotFoundError(f"{repo}: the hub has no such model.")

    monkeypatch.setattr(hub, "fetch", fetch)
    with pytest.raises(
        DeepSeekError, match=r"no such model.*Did you mean deepseek-ai/DeepSeek-V2-L"
    ):
        resolve.locate("deepseek-ai/DeepSeek-V2-Lit")


def test_a_hub_id_is_fetched(monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "fetch", lambda repo, revision, progress: tmp_path / revision)
    found = resolve.locate("DeepSeek-V2-Lite", revision="main")
    assert found.folder == tmp_path / "main"
    assert found.name == "deepseek-ai/DeepSeek-V2-Lite"
