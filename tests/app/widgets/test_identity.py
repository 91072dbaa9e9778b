"""The app has its own name and icons wherever a browser or a preview shows them."""

import gzip
import io
import json
import urllib.request

from PIL import Image


def get(url):
    with urllib.request.urlopen(url) as answer:
        return answer.headers["content-type"], answer.read()


def test_page_manifest_and_icons_are_the_apps_own(site):
    kind, page = get(site.url)
    assert kind.startswith("text/html")
    head = page[: page.index(b"</head>")].decode()
    assert "<title>mlx-deepseek</title>" in head
    assert head.count("og:title") == 1
    assert "Click to try out the app" not in head
    assert "twitter:" not in head
    kind, text = get(f"{site.url}manifest.json")
    manifest = json.loads(text)
    assert (kind, manifest["name"], manifest["display"]) == (
        "application/manifest+json",
        "mlx-deepseek",
        "standalone",
    )
    for icon in manifest["icons"]:
        kind, data = get(site.url + icon["src"].removeprefix("./"))
        assert kind == icon["type"]
        if kind == "image/png":
            assert "x".join(map(str, Image.open(io.BytesIO(data)).size)) == icon["sizes"]


def test_the_page_goes_out_packed_to_who_can_unpack_it(site):
    asked = urllib.request.Request(site.url, headers={"accept-encoding": "br, gzip"})
    with urllib.request.urlopen(asked) as answer:
        packed, headers = answer.read(), answer.headers
    page = get(site.url)[1]
    assert (headers["content-encoding"], headers["vary"]) == ("gzip", "accept-encoding")
    assert int(headers["content-length"]) == len(packed) < len(page) / 4
    unpacked = gzip.decompress(packed)
    assert b"<title>mlx-deepseek</title>" in unpacked
    assert len(unpacked) == len(page)
