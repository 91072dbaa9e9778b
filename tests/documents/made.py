"""PDFs made by hand, for tests."""

import zlib
from hashlib import md5

CATALOG = b"<</Type/Catalog/Pages 2 0 R>>"


def pdf(*objects: bytes, trailer: bytes = b"") -> bytes:
    """A PDF of numbered objects; the first is the catalog."""
    out, offsets = b"%PDF-1.7\n", []
    for number, content in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return out + (
        b"xref\n0 %d\n0000000000 65535 f \n%btrailer\n<</Size %d/Root 1 0 R%b>>\n"
        b"startxref\n%d\n%%%%EOF"
    ) % (len(objects) + 1, table, len(objects) + 1, trailer, len(out))


def stream(entries: bytes, content: bytes) -> bytes:
    """A stream object."""
    return b"<<%b/Length %d>>\nstream\n%b\nendstream" % (entries, len(content), content)


def text_pdf(*texts: str, box: bytes = b"0 0 200 100") -> bytes:
    """A PDF with one line of text on each page."""
    kids = b" ".join(b"%d 0 R" % (4 + 2 * i) for i in range(len(texts)))
    objects = [
        CATALOG,
        b"<</Type/Pages/Kids[%b]/Count %d>>" % (kids, len(texts)),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    for i, text in enumerate(texts):
        objects += [
            b"<</Type/Page/Parent 2 0 R/MediaBox[%b]/Resources<</Font<</F 3 0 R>>>>"
            b"/Contents %d 0 R>>" % (box, 5 + 2 * i),
            stream(b"", b"BT /F 24 Tf 10 40 Td (%b) Tj ET" % text.encode()),
        ]
    return pdf(*objects)


def form_bomb(depth: int = 12) -> bytes:
    """A page that draws 10 forms, of which each draws 10 forms, and so on."""
    objects = [
        CATALOG,
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]/Resources<</XObject<</F 5 0 R>>>>"
        b"/Contents 4 0 R>>",
        stream(b"", b"/F Do"),
    ]
    for level in range(depth):
        content = b"/F Do " * 10 if level < depth - 1 else b"0 0 9 9 re f"
        forms = b"/Resources<</XObject<</F %d 0 R>>>>" % (len(objects) + 2)
        objects.append(stream(b"/Subtype/Form/BBox[0 0 99 99]" + forms, content))
    return pdf(*objects)


def image_bomb(side: int) -> bytes:
    """A page with a picture of side x side pixels, all black, in few bytes."""
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(3 * side)) for _ in range(side)) + packer.flush()
    return pdf(
        CATALOG,
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]/Resources<</XObject<</I 4 0 R>>>>"
        b"/Contents 5 0 R>>",
        stream(
            b"/Subtype/Image/Width %d/Height %d/ColorSpace/DeviceRGB/BitsPerComponent 8"
            b"/Filter/FlateDecode" % (side, side),
            rows,
        ),
        stream(b"", b"99 0 0 99 0 0 cm /I Do"),
    )


PADDING = bytes.fromhex("28bf4e5e4e758a4164004e56fffa01082e2e00b6d0683e802f0ca9fe6453697a")


def encrypted(password: bytes) -> bytes:
    """An empty page, encrypted with RC4 of 40 bits (PDF 1.7, 7.6.3)."""
    padded, permissions, number = (password + PADDING)[:32], -4, b"0123456789abcdef"
    owner = rc4(md5(padded).digest()[:5], padded)
    secret = padded + owner + permissions.to_bytes(4, "little", signed=True) + number
    user = rc4(md5(secret).digest()[:5], PADDING)
    lock = b"/Encrypt<</Filter/Standard/V 1/R 2/P %d/O<%b>/U<%b>>>/ID[<%b><%b>]" % (
        permissions,
        owner.hex().encode(),
        user.hex().encode(),
        *[number.hex().encode()] * 2,
    )
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 72 36]>>"
    return pdf(CATALOG, b"<</Type/Pages/Kids[3 0 R]/Count 1>>", page, trailer=lock)


def rc4(key: bytes, content: bytes) -> bytes:
    """The stream cipher of old PDFs."""
    state, j = list(range(256)), 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    out, i, j = bytearray(), 0, 0
    for byte in content:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(out)
