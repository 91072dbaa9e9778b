"""Damaged, lying and exploding pictures and PDFs, the same every time; a program that reads them.

It reads all of them, with good ones in between, and prints what became of each as JSON.
"""

import io
import json
import random
import resource
import struct
import sys
import warnings
import zlib
from collections.abc import Iterator

from PIL import Image, PngImagePlugin, features

from mlx_deepseek.documents.read import read
from tests.documents.made import CATALOG, encrypted, form_bomb, image_bomb, pdf, stream, text_pdf
from tests.documents.scripted import Scripted

FUZZED_EACH, FUZZED_PDFS_EACH = 20, 16
GOOD = "good"


def corpus() -> list[tuple[str, bytes]]:
    """Names and contents; those called "good" are whole."""
    found: list[tuple[str, bytes]] = []
    for name, content in (*bombs(), *fuzzed()):
        found.append((name, content))
        if len(found) % 20 == 0:
            found.append((f"{GOOD} {len(found)}", picture_file("PNG")))
    return found


def picture_file(format_name: str, mode: str = "RGB", size=(48, 40), **options) -> bytes:
    """A small picture with some detail."""
    picture = Image.linear_gradient("L").resize(size).convert(mode)
    buffer = io.BytesIO()
    picture.save(buffer, format_name, **options)
    return buffer.getvalue()


def whole_files() -> dict[str, bytes]:
    """One good file of each kind."""
    frames = {"save_all": True, "append_images": [Image.new("RGB", (48, 40), "red")] * 3}
    files = {
        "png": picture_file("PNG"),
        "palette png": picture_file("PNG", "P", transparency=3),
        "16-bit png": picture_file("PNG", "I;16"),
        "animated png": picture_file("PNG", **frames),
        "jpeg": picture_file("JPEG"),
        "progressive jpeg": picture_file("JPEG", progressive=True),
        "cmyk jpeg": picture_file("JPEG", "CMYK"),
        "gif": picture_file("GIF", "P"),
        "animated gif": picture_file("GIF", **frames),
        "webp": picture_file("WEBP"),
        "tiff": picture_file("TIFF"),
        "tiff of pages": picture_file("TIFF", compression="tiff_lzw", **frames),
        "bmp": picture_file("BMP"),
        "ppm": picture_file("PPM"),
    }
    if features.check("avif"):
        files["avif"] = picture_file("AVIF")
    pages = text_pdf("one", "two")
    files |= {"pdf": pages, "packed pdf": image_bomb(40), "locked pdf": encrypted(b"")}
    return files


def fuzzed() -> Iterator[tuple[str, bytes]]:
    """Each kind cut off and altered."""
    chance = random.Random(11)
    for name, content in whole_files().items():
        for i in range(FUZZED_PDFS_EACH if "pdf" in name else FUZZED_EACH):
            yield f"{name}, altered {i}", altered(content, chance)


def altered(content: bytes, chance: random.Random) -> bytes:
    """Cut off, with bytes changed, with a part gone, doubled or filled."""
    start = chance.randrange(len(content))
    end = min(len(content), start + chance.randrange(1, 64))
    match chance.randrange(6):
        case 0:
            return content[:start]
        case 1:
            return content[:start] + content[end:]
        case 2:
            return content[:end] + content[start:]
        case 3:
            return content[:start] + b"\xff" * (end - start) + content[end:]
        case 4:
            return content[:start] + chance.randbytes(end - start) + content[end:]
    changed = bytearray(content)
    for _ in range(chance.randrange(1, 9)):  # most often in the header
        changed[int(len(changed) * chance.random() ** 3)] = chance.randrange(256)
    return bytes(changed)


def bombs() -> Iterator[tuple[str, bytes]]:
    """Small files that claim, or hold, much."""
    for width, height in ((30_000, 30_000), (2**31 - 1, 2**31 - 1), (0, 9), (30_000, 1)):
        yield f"png of {width} x {height}", png(width, height, zlib.compress(bytes(10**6)))
    yield "png within the limit", png(8000, 8000, zlib.compress(bytes(8000 * 24001)))
    yield "png of 10 MB of text", png_with_text(10**7)
    yield "png with a profile of 50 MB", png_with_profile(50 * 10**6)
    gif = picture_file("GIF", "P")
    yield "gif of 65,535 x 65,535", gif[:6] + b"\xff" * 4 + gif[10:]
    yield "gif of 3,000 frames", gif[:-1] + gif[gif.index(b"\x2c") : -1] * 3000 + b";"
    jpeg, size = picture_file("JPEG"), struct.pack(">HH", 40, 48)
    yield "jpeg of 65,500 x 65,500", jpeg.replace(size, struct.pack(">HH", 65500, 65500))
    slow = picture_file("JPEG", progressive=True)
    yield "progressive jpeg of the same", slow.replace(size, struct.pack(">HH", 65500, 65500))
    yield "ppm of 99,999 x 99,999", b"P6 99999 99999 255\n" + bytes(99)
    bmp = picture_file("BMP")
    yield "bmp of 10^5 x 10^5", bmp[:18] + struct.pack("<ii", 10**5, 10**5) + bmp[26:]
    tiff = picture_file("TIFF")
    yield "tiff whose pages go in a circle", circular_tiff(tiff)
    yield (
        "pdf that calls itself a million pages",
        pdf(CATALOG, b"<</Type/Pages/Kids[3 0 R]/Count 1000000>>", blank_page()),
    )
    yield "pdf whose pages go in a circle", pdf(CATALOG, b"<</Type/Pages/Kids[2 0 R]/Count 2>>")
    yield "pdf without pages", pdf(CATALOG, b"<</Type/Pages/Kids[]/Count 0>>")
    yield "pdf with a picture of 6,000 x 6,000", image_bomb(6000)
    yield "pdf of a huge page", text_pdf("one", box=b"0 0 1e9 1e9")
    yield "pdf of a page without area", text_pdf("one", box=b"0 0 0 0")
    content = zlib.compress(b"0 0 m 9 9 l S " * 10**5, 9)
    yield (
        "pdf of 100,000 lines",
        pdf(
            CATALOG,
            b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            blank_page(b"/Contents 4 0 R"),
            stream(b"/Filter/FlateDecode", content),
        ),
    )
    yield "pdf of 10^11 squares", form_bomb()
    yield "locked pdf", encrypted(b"secret")


def png(width: int, height: int, content: bytes, *extra: bytes) -> bytes:
    """A PNG of 8-bit RGB."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    parts = (header, *extra, chunk(b"IDAT", content), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def chunk(kind: bytes, content: bytes) -> bytes:
    """A part of a PNG."""
    sums = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + sums


def png_with_text(length: int) -> bytes:
    """A PNG with a packed text as long as this."""
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "a" * length, zip=True)
    return picture_file("PNG", pnginfo=info)


def png_with_profile(length: int) -> bytes:
    """A PNG with a packed colour profile as long as this."""
    return png(
        4, 4, zlib.compress(bytes(4 * 13)), chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(length)))
    )


def circular_tiff(tiff: bytes) -> bytes:
    """A TIFF whose only page says that it is followed by itself."""
    (first,) = struct.unpack_from("<I", tiff, 4)
    (entries,) = struct.unpack_from("<H", tiff, first)
    place = first + 2 + 12 * entries
    return tiff[:place] + struct.pack("<I", first) + tiff[place + 4 :]


def blank_page(extra: bytes = b"") -> bytes:
    """An empty page."""
    return b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]%b>>" % extra


def main() -> None:
    """Read the corpus; one JSON object."""
    warnings.simplefilter("ignore")  # Pillow's, of what it repairs
    files = corpus()
    names = {id(content): name for name, content in files}
    small = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pages = read(Scripted(), [content for _, content in files])
    ends = [(names[id(page.source)], page) for page in pages if page.finish]
    unit = 1 << 10 if sys.platform == "linux" else 1
    result = {
        "files": [name for name, _ in files],
        "ends": [(name, page.finish, page.error) for name, page in ends],
        "grown_bytes": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - small) * unit,
        "renderer_bytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit,
    }
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
