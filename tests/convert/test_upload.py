"""Model cards say where weights come from; only whole conversions are uploaded."""

import json
from pathlib import Path

import huggingface_hub
import pytest

from mlx_deepseek.errors import CheckpointError
from mlx_deepseek_convert import convert
from mlx_deepseek_convert.upload import upload


class Recorder:
    """Stands in for the hub's API: notes what is asked of it."""

    calls: list[tuple[str, tuple, dict]]
    fails = False

    def create_repo(self, *args, **kwargs) -> str:
        self.calls.append(("create_repo", args, kwargs))
        return f"https://hub/{args[0]}"

    def upload_folder(self, **kwargs) -> None:
        self.calls.append(("upload_folder", (), kwargs))
        if self.fails:
            raise OSError("no route to host")


@pytest.fixture
def api(monkeypatch):
    Recorder.calls, Recorder.fails = [], False
    monkeypatch.setattr(huggingface_hub, "HfApi", Recorder)
    return Recorder


@pytest.fixture
def source(goldens_root, tmp_path) -> Path:
    """A checkpoint in a folder of the hub's cache, with a card."""
    folder = tmp_path / "models--deepseek-ai--DeepSeek-V3" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    for path in (goldens_root / "deepseek_v3_fp8").glob("*"):
        if path.name in ("config.json", "model.safetensors"):
            (folder / path.name).write_bytes(path.read_bytes())
    card = "---\nlicense: other\nlicense_name: deepseek\nlicense_link: LICENSE\n"
    card += "tags: [x]\n---\n# V3\nlicense: none\n"
    (folder / "README.md").write_text(card)
    return folder


def metadata(folder: Path) -> list[str]:
    return (folder / "README.md").read_text().split("---\n")[1].splitlines()


def test_the_card_has_provenance_and_licence(source, tmp_path):
    convert(source, tmp_path / "out")
    lines = metadata(tmp_path / "out")
    assert "base_model: deepseek-ai/DeepSeek-V3" in lines
    assert {"license: other", "license_name: deepseek", "license_link: LICENSE"} <= set(lines)
    assert "license: none" not in lines
    (source / "README.md").unlink()
    convert(source, tmp_path / "again")
    assert [line for line in metadata(tmp_path / "again") if "license" in line]


def test_a_card_cannot_smuggle_metadata(source, tmp_path):
    (source / "README.md").write_text("---\nlicense: mit\nbase_model: a/b\nlicense: {x: [}\n---\n")
    convert(source, tmp_path / "out")
    lines = metadata(tmp_path / "out")
    assert [line for line in lines if "license" in line] == ["license: mit"]
    assert "base_model: a/b" not in lines


def test_upload(source, tmp_path, api):
    out = tmp_path / "out"
    convert(source, out)
    (out / "quality.json").write_text(json.dumps({"perplexity": 3.25}))
    assert upload(out, "me/tiny", private=True) == "https://hub/me/tiny"
    assert upload(out, "me/tiny")
    (made, args, options), (_, _, sent) = api.calls[:2]
    assert (made, args) == ("create_repo", ("me/tiny",))
    assert options == {"private": True, "exist_ok": True}
    assert sent["folder_path"] == out
    card = (out / "README.md").read_text()
    assert card.count("## Quality") == 1
    assert "| perplexity | 3.25 |" in card


def test_what_is_not_whole_is_not_uploaded(source, tmp_path, api):
    with pytest.raises(CheckpointError, match="Expected a converted checkpoint"):
        upload(source, "me/tiny")
    out = tmp_path / "out"
    convert(source, out)
    with pytest.raises(CheckpointError, match="tried as a folder"):
        upload(out, "no id")
    weights = next(out.glob("model*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CheckpointError, match="changed since the conversion"):
        upload(out, "me/tiny")
    weights.unlink()
    with pytest.raises(CheckpointError, match="missing"):
        upload(out, "me/tiny")
    assert api.calls == []


def test_a_failed_upload(source, tmp_path, api):
    api.fails = True
    convert(source, tmp_path / "out")
    with pytest.raises(CheckpointError, match=r"upload failed \(no route to host\).*upload again"):
        upload(tmp_path / "out", "me/tiny")
