"""The words of files: encodings, Word documents, and files that want harm."""

import zipfile

import pytest

from mlx_deepseek_app.chat import text_files
from mlx_deepseek_app.chat.text_files import BODY, FileError, words_of

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
DOCUMENT = f"""<?xml version="1.0"?><w:document {W}><w:body>
<w:p><w:pPr><w:pStyle w:val="Heading1"/></w:pPr><w:r><w:t>Title</w:t></w:r></w:p>
<w:p><w:r><w:t xml:space="preserve">Some </w:t></w:r><w:hyperlink><w:r><w:t>words</w:t></w:r>
</w:hyperlink><w:r><w:tab/><w:t>&lt;b&gt;</w:t><w:br/><w:t>next</w:t></w:r></w:p><w:p/>
<w:p><w:pPr><w:numPr/></w:pPr><w:r><w:t>point</w:t></w:r></w:p>
<w:tbl><w:tr><w:tc><w:p><w:r><w:t>a</w:t></w:r></w:p></w:tc><w:tc><w:p><w:r><w:t>b</w:t></w:r></w:p>
</w:tc></w:tr></w:tbl><w:sdt><w:sdtContent><w:p><w:r><w:t>field</w:t></w:r></w:p></w:sdtContent>
</w:sdt></w:body></w:document>"""


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def docx(folder, document):
    with zipfile.ZipFile(folder / "a.docx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(BODY, document)
    return folder / "a.docx"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Grüße 设".encode(), "Grüße 设"),
        ("\ufeffx".encode(), "x"),
        ("Grüße".encode("utf-16"), "Grüße"),
        ("我想知道规则".encode("gbk"), "我想知道规则"),
        ("Grüße aus Köln".encode("cp1252"), "Grüße aus Köln"),
    ],
)
def test_text_in_usual_encodings(tmp_path, content, text):
    assert words_of(written(tmp_path, "a.txt", content), "a.txt") == text


def test_a_word_document(tmp_path):
    text = words_of(docx(tmp_path, DOCUMENT), "a.docx")
    assert text == "# Title\n\nSome words\t<b>\nnext\n\n- point\n\n| a | b |\n\nfield"


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + DOCUMENT[21:]


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.bin", b"\x7fELF\0\0", "no text, picture, PDF or Word document"),
        ("a.txt", b"  \n", "has no text in it"),
        ("a.docx", b"PK no zip", "damaged, or no Word document"),
        ("a.docx", "<x", "damaged, or no Word document"),
        ("a.docx", BOMB, "damaged, or no Word document"),
        ("a.docx", DOCUMENT.replace("w:body", "w:none"), "has no text in it"),
    ],
)
def test_files_without_words_say_why(tmp_path, name, content, why):
    path = docx(tmp_path, content) if isinstance(content, str) else written(tmp_path, name, content)
    with pytest.raises(FileError, match=why) as refused:
        words_of(path, name)
    assert str(tmp_path) not in str(refused.value)


def test_what_is_too_large_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    path = docx(tmp_path, DOCUMENT.replace("Title", "x" * 100_000))
    monkeypatch.setattr(text_files, "BYTES_AT_MOST", 50_000)
    assert path.stat().st_size < 50_000
    with pytest.raises(FileError, match="larger than"):
        words_of(path, "a.docx")
    with pytest.raises(FileError, match="larger than"):
        words_of(written(tmp_path, "b.txt", "x" * 60_000), "b.txt")
