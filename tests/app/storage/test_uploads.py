"""Uploads go when nobody needs them, and files of the user's own never."""

import pytest

from mlx_deepseek_app.storage.uploads import Uploads, copies_folder, remove, uploads_folder


@pytest.fixture
def uploaded(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))

    def uploaded(name, folder=None):
        path = (folder or uploads_folder()) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        return str(path)

    return uploaded


def names():
    return sorted(path.name for path in uploads_folder().iterdir())


def test_what_is_replaced_or_left_goes_once_nobody_needs_it(uploaded):
    uploads = Uploads()
    a, b, c = (uploaded(name) for name in "abc")
    uploads.need("tab", [a, b])
    uploads.need("tab's job", [a])
    uploads.need("other", [b, c])
    uploads.need("tab", [c])
    assert names() == ["a", "b", "c"]  # the job reads one, the other tab shows two
    uploads.need("tab's job")
    assert names() == ["b", "c"]
    uploads.need("other")
    assert names() == ["c"]
    uploads.need("tab")
    assert names() == []
    uploads.need("nobody")


def test_a_file_of_the_users_own_stays(uploaded, tmp_path):
    own = uploaded("own", tmp_path / "pictures")
    uploads = Uploads()
    uploads.need("tab", [own])
    uploads.need("tab")
    remove(own)
    remove(f"{uploads_folder()}/../pictures/own")
    assert (tmp_path / "pictures" / "own").exists()


def test_copies_lie_among_the_uploads(uploaded):
    assert uploads_folder() in copies_folder().parents
