"""Files appear whole or not at all, and leave nothing behind."""

import stat

import pytest

from mlx_deepseek.runtime.whole_file import write_text_whole, write_whole


def test_a_file_takes_the_place_of_the_old_one(tmp_path):
    path = tmp_path / "a.txt"
    for text in ("one", "two"):
        write_text_whole(path, text)
        assert path.read_text() == text
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]


def test_what_fails_leaves_the_old_one_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_text_whole(path, "old")

    def half(file):
        file.write(b"ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_whole(path, half)
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]


def test_halves_of_characters_are_replaced(tmp_path):
    write_text_whole(tmp_path / "a.txt", "x\ud83dy")
    assert (tmp_path / "a.txt").read_text() == "x?y"


def test_private_files_are_for_their_owner_alone(tmp_path):
    write_whole(tmp_path / "a", lambda file: file.write(b"x"), mode=0o600)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
