"""The gallery on disk: what is kept is found again, by its owner, also without its index."""

import errno
from pathlib import Path

import pytest
from PIL import Image

from mlx_deepseek.image_generation.draw import Origin, Picture, read_origin
from mlx_deepseek_app.storage.database import StoreError
from mlx_deepseek_app.storage.drawings import INDEX, Drawings


def picture(prompt: str = "a red circle", seed: int = 1, score: float | None = None) -> Picture:
    origin = Origin("nano-janus", "bf16", prompt, seed, 5.0, 1.0, None)
    return Picture(Image.new("RGB", (8, 8), "red"), origin, score)


def test_pictures_are_found_again_newest_first_by_their_words(tmp_path):
    drawings = Drawings(tmp_path / "drawings")
    for seed, prompt in enumerate(("a red circle", "100 % blue_squares", "蓝色正方形")):
        drawings.add("", picture(prompt, seed, 0.5))
    again = Drawings(tmp_path / "drawings")
    assert [one.origin.seed for one in again.entries("")] == [2, 1, 0]
    assert [one.origin.prompt for one in again.entries("", "RED nano")] == ["a red circle"]
    assert [one.origin.seed for one in again.entries("", "蓝色")] == [2]
    assert [one.origin.seed for one in again.entries("", "_sq %")] == [1]
    assert not again.entries("", "_red")
    assert again.entries("")[0].score == 0.5


def test_a_file_says_what_made_it_and_the_copy_is_the_same(tmp_path):
    drawings = Drawings(tmp_path)
    key = drawings.add("", picture())
    copy = drawings.file(key)
    assert read_origin(Image.open(copy)) == picture().origin
    assert Path(copy).read_bytes() == (tmp_path / f"{key}.png").read_bytes()


def test_the_same_picture_is_kept_once(tmp_path):
    drawings = Drawings(tmp_path)
    first = drawings.add("", picture())
    drawings.add("", picture(seed=2))
    assert drawings.add("", picture()) == first
    assert drawings.entries("")[0].id == first
    assert len(list(tmp_path.glob("*.png"))) == 2


def test_what_is_deleted_is_gone_and_only_its_owner_deletes(tmp_path):
    drawings = Drawings(tmp_path)
    key = drawings.add("me", picture())
    copy = drawings.file(key)
    drawings.delete("you", key)
    assert not drawings.entries("you")
    assert len(drawings.entries("me")) == 1
    drawings.delete("me", key)
    assert not drawings.entries("me")
    assert not list(tmp_path.glob("*.png"))
    assert drawings.file(key) == ""
    assert not Path(copy).exists()


@pytest.mark.parametrize("damage", [None, b"no database at all" * 100])
def test_a_lost_or_damaged_index_is_made_from_the_files(tmp_path, damage):
    Drawings(tmp_path).add("", picture())
    Image.new("RGB", (4, 4)).save(tmp_path / "another.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    if damage is None:
        (tmp_path / INDEX).unlink()
    else:
        (tmp_path / INDEX).write_bytes(damage)
    (found,) = Drawings(tmp_path).entries("")
    assert found.origin == picture().origin


def test_a_file_that_is_gone_is_no_picture(tmp_path):
    drawings = Drawings(tmp_path)
    key = drawings.add("", picture())
    (tmp_path / f"{key}.png").unlink()
    assert drawings.file(key) == ""
    drawings.add("", picture())
    assert drawings.file(drawings.entries("")[0].id)


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, monkeypatch):
    drawings = Drawings(tmp_path)

    def full(self, file):
        file.write_bytes(b"half a pict")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Picture, "save", full)
    with pytest.raises(
        StoreError, match=r"gallery cannot be used.*No space left.*Is the disk full"
    ):
        drawings.add("", picture())
    assert not drawings.entries("")
    assert {file.suffix for file in tmp_path.iterdir()} == {".sqlite"}


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="gallery cannot be used"):
        Drawings(tmp_path / "file" / "drawings").entries("")


def test_without_a_folder_a_tabs_pictures_end_with_it():
    drawings = Drawings()
    key = drawings.add("tab", picture())
    drawings.add("other", picture())
    copy = drawings.file(key)
    drawings.left("tab")
    assert not drawings.entries("tab")
    assert len(drawings.entries("other")) == 1
    assert not Path(copy).exists()
