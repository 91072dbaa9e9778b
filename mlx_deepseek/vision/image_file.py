"""Pictures from files, bytes, data URLs or Pillow: upright RGB, in memory that is bounded.

How large a picture will be is known from its header, before anything is decoded.
"""

import base64
import binascii
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import ExifTags, Image

from mlx_deepseek.errors import ImageError

Source = str | Path | bytes | Image.Image

# No format whose decoder runs programs, downloads, or takes more memory than its pixels.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "AVIF")
# Their names' usual endings; what a file is, its content says.
SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".avif", ".heic", ".heif"
)  # fmt: skip
# Brands of HEIC files, what iPhones and Macs make; pillow-heif decodes them and turns them upright.
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
HEADER_BYTES = 16
# Decoding, transparency and turning hold 6 to 14 bytes for each pixel.
MAX_PIXELS = 80_000_000
# More, and a view of 384 pixels would be less than one pixel high.
MAX_ASPECT = 500
# By how much a JPEG can be shrunk while it is decoded.
JPEG_SCALES = (2, 4, 8)

# Modes whose colours were multiplied by their opacity.
PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}

ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_picture(source: Source, frame: int = 0) -> Image.Image:
    """An upright RGB picture; transparent parts are white, of an animation it is `frame`.

    `source` is a file, its bytes, a data URL or a Pillow image. JPEGs above MAX_PIXELS come in
    half, a quarter or an eighth of their size.

    Raises:
        ImageError: not a picture, damaged, too large, or of a shape that no model can see.
    """
    name = describe(source)
    with _opened(source, name) as picture, _readable(name):
        if frame:
            picture.seek(frame)
        _shrink(picture)
        _check_size(name, picture.size)
        picture.load()
        upright = _upright(_rgb(picture), _orientation(picture))
        return upright.copy() if upright is source else upright


def count_frames(source: Source) -> int:
    """How many pages a TIFF has; 1 for all other pictures, animated or not.

    Raises:
        ImageError: not a picture, or its header is damaged.
    """
    name = describe(source)
    with _opened(source, name) as picture, _readable(name):
        return getattr(picture, "n_frames", 1) if picture.format == "TIFF" else 1


def describe(source: Source) -> str:
    """What a message calls a source."""
    if isinstance(source, Image.Image):
        return "picture"
    if isinstance(source, bytes):
        return f"picture of {len(source)} bytes"
    return "data URL" if str(source).startswith("data:") else str(source)


@contextmanager
def _opened(source: Source, name: str) -> Iterator[Image.Image]:
    """The picture with its header read; files are closed at the end."""
    if isinstance(source, Image.Image):
        yield source
        return
    with _file(source, name) as file:
        yield _identify(file, name)


def _file(source: str | Path | bytes, name: str) -> IO[bytes]:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if str(source).startswith("data:"):
        return io.BytesIO(_data_url(str(source)))
    if str(source).startswith(("http://", "https://")):
        raise ImageError(f"{name}: web addresses are not followed. Download the picture first.")
    try:
        path = Path(source).expanduser()
        if not path.is_file():  # a pipe would wait for ever
            raise ImageError(f"{name}: no such file. Expected a picture.")
        return path.open("rb")
    except (OSError, ValueError, RuntimeError) as error:
        raise ImageError(f"{name}: cannot be opened: {error}.") from error


def _data_url(url: str) -> bytes:
    kind, comma, content = url.partition(",")
    try:
        if not comma or not kind.endswith(";base64"):
            raise ValueError("no ';base64,' before its content")
        return base64.b64decode("".join(content.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(
            f"data URL: {error}. Expected data:image/png;base64,... or another image type."
        ) from error


def _identify(file: IO[bytes], name: str) -> Image.Image:
    """Read the header. Image.open would warn of, or refuse, large pictures that can be shrunk."""
    Image.init()
    start = file.read(HEADER_BYTES)
    for format_name in FORMATS:
        factory, accept = Image.OPEN.get(format_name, (None, None))
        # `accept` answers with text where this Pillow lacks the decoder.
        if factory is None or (accept is not None and accept(start) is not True):
            continue
        file.seek(0)
        with _readable(name):
            return factory(file, "")
    if start[4:8] == b"ftyp" and start[8:12] in HEIF_BRANDS:
        from pillow_heif import HeifImageFile

        file.seek(0)
        with _readable(name):
            return HeifImageFile(file, "")
    if not start:
        raise ImageError(f"{name}: the file is empty. Expected a picture.")
    raise ImageError(
        f"{name}: not a picture of a known format. Expected one of {', '.join(FORMATS)}, HEIC; "
        "convert it to PNG."
    )


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Decoders raise whatever a damaged file leads them to; callers get one error."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:
        reason = str(error).rstrip(".") or type(error).__name__
        raise ImageError(
            f"{name}: the picture is damaged or cut off: {reason}. Get it again, or save it anew "
            "with a program that still opens it."
        ) from error


def _shrink(picture: Image.Image) -> None:
    """Let a JPEG above MAX_PIXELS be decoded smaller."""
    pixels = picture.width * picture.height
    if pixels <= MAX_PIXELS or picture.format not in ("JPEG", "MPO") or not _streams(picture):
        return
    for scale in JPEG_SCALES:
        if pixels <= MAX_PIXELS * scale**2:
            picture.draft(None, (picture.width // scale, picture.height // scale))
            return


def _streams(picture: Any) -> bool:
    """Whether a JPEG has one scan; of several, the decoder holds all coefficients at full size."""
    if picture.info.get("progressive") or not getattr(picture, "fp", None):
        return False
    components = len(picture.getbands())
    # Pillow stopped behind the first scan's header: marker, length, number of components, these.
    header = bytes((0xFF, 0xDA, 0, 6 + 2 * components, components))
    picture.fp.seek(-(8 + 2 * components), io.SEEK_CUR)
    return picture.fp.read(len(header)) == header


def _check_size(name: str, size: tuple[int, int]) -> None:
    width, height = size
    if min(size) < 1:
        raise ImageError(f"{name}: the picture has {width} x {height} pixels. Expected some.")
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name}: the picture has {width} x {height} pixels. Expected at most "
            f"{MAX_PIXELS // 10**6} million; make it smaller or cut it into parts."
        )
    if max(size) > MAX_ASPECT * min(size):
        raise ImageError(
            f"{name}: the picture has {width} x {height} pixels. Expected one side to be at most "
            f"{MAX_ASPECT} times the other; cut it into parts."
        )


def _rgb(picture: Image.Image) -> Image.Image:
    """8-bit RGB, on white."""
    if picture.mode in PREMULTIPLIED:
        picture = picture.convert(PREMULTIPLIED[picture.mode])
    if picture.mode == "RGB" and not picture.has_transparency_data:
        return picture
    if picture.mode.startswith(("I", "F")):
        return _eight_bits(picture).convert("RGB")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layer = picture.convert("RGBA")
    white = Image.new("RGB", picture.size, "white")
    white.paste(layer, mask=layer.getchannel("A"))
    return white


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Gray values of 16 bits, 32 bits or floats; floats up to 1 are taken as shares of white."""
    values = np.nan_to_num(np.asarray(picture, dtype=np.float32).copy(), copy=False)
    highest = float(values.max())
    if picture.mode == "F" and highest <= 1:
        values *= 255
    elif picture.mode.startswith("I;16") or highest > 255:
        values /= 257
    np.rint(np.clip(values, 0, 255, out=values), out=values)
    return Image.fromarray(values.astype(np.uint8))


def _orientation(picture: Image.Image) -> int:
    try:
        return int(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF of a picture that is whole
        return 1


def _upright(picture: Image.Image, orientation: int) -> Image.Image:
    turn = ORIENTATIONS.get(orientation)
    return picture if turn is None else picture.transpose(turn)
