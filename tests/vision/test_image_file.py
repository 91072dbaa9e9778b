"""Pictures of every kind become upright RGB, and what cannot is refused with a reason."""

import base64
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mlx_deepseek.errors import ImageError
from mlx_deepseek.vision.image_file import MAX_PIXELS, count_frames, open_picture

RED, WHITE = (255, 0, 0), (255, 255, 255)


def encoded(picture: Image.Image, format_name: str = "PNG", **options) -> bytes:
    """A picture's file."""
    buffer = io.BytesIO()
    picture.save(buffer, format_name, **options)
    return buffer.getvalue()


def corner(size=(40, 20)) -> Image.Image:
    """White with a red upper left quarter."""
    picture = Image.new("RGB", size, "white")
    picture.paste(RED, (0, 0, size[0] // 2, size[1] // 2))
    return picture


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it is this large, with nothing in it."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + bytes(4)


def test_sources(tmp_path):
    content = encoded(corner())
    path = tmp_path / "a.png"
    path.write_bytes(content)
    url = "data:image/png;base64," + base64.b64encode(content).decode()
    for source in (path, str(path), content, url, corner()):
        picture = open_picture(source)
        assert (picture.mode, picture.size) == ("RGB", (40, 20))
        assert picture.getpixel((0, 0)) == RED
        assert picture.getpixel((39, 0)) == WHITE


def test_the_callers_picture_stays_as_it_is():
    mine = corner()
    open_picture(mine).paste("black", (0, 0, 40, 20))
    assert mine.getpixel((0, 0)) == RED


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(orientation):
    """Pillow's own way of turning a stored picture upright is the judge."""
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(corner(), "PNG", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    assert np.array_equal(open_picture(content), expected)


def test_damaged_exif_leaves_the_picture():
    content = encoded(corner(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert open_picture(content).size == (40, 20)


@pytest.mark.parametrize("mode", ["RGBA", "RGBa", "LA", "La", "PA"])
def test_transparency_is_white(mode):
    picture = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    picture.putpixel((0, 0), (255, 0, 0, 255))
    steps = {"La": ["LA", "La"]}.get(mode, [mode])
    for step in steps:
        picture = picture.convert(step)
    opened = open_picture(picture)
    assert opened.getpixel((3, 3)) == WHITE
    assert opened.getpixel((0, 0)) != WHITE


def test_transparent_palette_and_colour_key():
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.putpixel((0, 0), 0)
    assert open_picture(encoded(palette)).getpixel((0, 0)) == RED
    assert open_picture(encoded(palette, transparency=0)).getpixel((0, 0)) == WHITE
    keyed = encoded(corner(), transparency=RED)
    assert open_picture(keyed).getpixel((0, 0)) == WHITE


@pytest.mark.parametrize("turned", [False, True])
def test_heic_as_iphones_make_it(turned):
    pillow_heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[0x0112] = 6 if turned else 1
    file = io.BytesIO()
    heif = pillow_heif.from_pillow(Image.new("RGB", (64, 32), RED))
    heif.save(file, quality=95, exif=exif.tobytes())
    picture = open_picture(file.getvalue())
    assert picture.size == ((32, 64) if turned else (64, 32))
    assert max(abs(a - b) for a, b in zip(picture.getpixel((9, 9)), RED, strict=True)) < 12
    with pytest.raises(ImageError, match="damaged"):
        open_picture(file.getvalue()[:200])


def test_cmyk():
    content = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF")
    assert open_picture(content).getpixel((0, 0)) == RED
    content = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95)
    red, green, blue = open_picture(content).getpixel((4, 4))
    assert red > 240
    assert max(green, blue) < 15


def test_sixteen_bits_are_scaled_not_clipped():
    values = np.array([[0, 257 * 100, 65535]], dtype=np.uint16).repeat(3, 0)
    for format_name in ("PNG", "TIFF"):
        picture = open_picture(encoded(Image.fromarray(values), format_name))
        assert [picture.getpixel((x, 0))[0] for x in range(3)] == [0, 100, 255]


def test_floats():
    values = np.array([[0, 0.5, 1, np.nan]], dtype=np.float32)
    picture = open_picture(encoded(Image.fromarray(values), "TIFF"))
    assert [picture.getpixel((x, 0))[0] for x in range(4)] == [0, 128, 255, 0]


@pytest.mark.parametrize("mode", ["1", "L", "P", "YCbCr", "HSV"])
def test_other_modes(mode):
    assert open_picture(corner().convert(mode)).getpixel((39, 19)) == WHITE


@pytest.mark.parametrize("format_name", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_an_animation(format_name):
    frames = [corner(), Image.new("RGB", (40, 20), "blue")]
    content = encoded(frames[0], format_name, save_all=True, append_images=frames[1:], lossless=1)
    assert count_frames(content) == 1
    red, green, blue = open_picture(content).getpixel((2, 2))
    assert red > 200
    assert max(green, blue) < 60


def test_pages_of_a_tiff():
    pages = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    content = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert count_frames(content) == 3
    assert open_picture(content, 1).getpixel((0, 0)) == (0, 255, 0)
    with pytest.raises(ImageError):
        open_picture(content, 3)


def test_large_pictures_are_refused_before_they_are_decoded():
    with pytest.raises(ImageError, match="at most 80 million"):
        open_picture(png_header(30_000, 30_000))
    with pytest.raises(ImageError, match="2147483647"):
        open_picture(png_header(2**31 - 1, 2**31 - 1))


def test_thirty_thousand_pixels_wide():
    assert open_picture(encoded(Image.new("1", (30_000, 100)))).size == (30_000, 100)
    with pytest.raises(ImageError, match="500 times"):
        open_picture(encoded(Image.new("1", (30_000, 40))))


def test_huge_jpegs_are_decoded_smaller(monkeypatch):
    monkeypatch.setattr("mlx_deepseek.vision.image_file.MAX_PIXELS", 10_000)
    assert open_picture(encoded(Image.new("RGB", (100, 100)), "JPEG")).size == (100, 100)
    assert open_picture(encoded(Image.new("RGB", (160, 160)), "JPEG")).size == (80, 80)
    assert open_picture(encoded(Image.new("L", (800, 800)), "JPEG")).size == (100, 100)
    with pytest.raises(ImageError):
        open_picture(encoded(Image.new("L", (808, 808)), "JPEG"))
    with pytest.raises(ImageError):  # its decoder would hold all of it
        open_picture(encoded(Image.new("RGB", (160, 160)), "JPEG", progressive=True))
    with pytest.raises(ImageError):
        open_picture(Image.new("RGB", (160, 160)))


def test_the_limit_stays_below_pillows_own():
    assert Image.MAX_IMAGE_PIXELS is not None
    assert Image.MAX_IMAGE_PIXELS > MAX_PIXELS  # or cropping would warn


@pytest.mark.parametrize(
    ("source", "part"),
    [
        (b"", "empty"),
        (b"hello, this is text", "known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "known format"),
        ("/nowhere/at/all.png", "no such file"),
        ("a\0b", "no such file|cannot be opened"),
        (".", "no such file"),
        ("https://example.org/a.png", "Download"),
        ("data:image/png;base64,###", "data URL"),
        ("data:image/png,abc", "data URL"),
        (png_header(0, 5), "0 x 5|damaged"),
        (encoded(corner((200, 200)))[:-200], "damaged or cut off"),
        (Image.new("RGB", (0, 7)), "0 x 7"),
    ],
)
def test_refusals_say_why(source, part):
    with pytest.raises(ImageError, match=part):
        open_picture(source)
