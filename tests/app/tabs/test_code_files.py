"""Which files go into a prompt, and what is said of the others."""

from mlx_deepseek_app.tabs.code import FILE_BYTES_AT_MOST, FILES_AT_MOST, fitting, read_files
from mlx_deepseek_app.tabs.code import SourceFile as File


def test_files_that_cannot_be_read_are_named(tmp_path):
    good, binary, large = (tmp_path / name for name in ("good.py", "binary.so", "large.py"))
    good.write_text("größe = 1")
    binary.write_bytes(b"\xff\xfe\x00")
    large.write_bytes(b"#" * (FILE_BYTES_AT_MOST + 1))
    files, wrong = read_files([str(good), str(binary), str(large)])
    assert files == [File("good.py", "größe = 1")]
    assert "binary.so" in wrong[0]
    assert "large.py" in wrong[1]


def test_no_more_files_than_the_page_promises(tmp_path):
    (tmp_path / "a.py").write_text("a")
    files, wrong = read_files([str(tmp_path / "a.py")] * (FILES_AT_MOST + 1))
    assert len(files) == FILES_AT_MOST
    assert str(FILES_AT_MOST + 1) in wrong[0]


def test_what_does_not_fit_is_left_out_and_named():
    files = [File("a", "x " * 3), File("b", "x " * 50), File("c", "x " * 3)]
    kept, left_out = fitting(files, 10, lambda text: len(text.split()))
    assert [file.path for file in kept] == ["a", "c"]
    assert left_out == ["b"]
    assert fitting(files, -5, lambda text: len(text.split()))[0] == []
