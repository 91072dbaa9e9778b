"""Pictures in requests, read by nano-ocr, a second model of the same server."""

import base64
import io

import pytest
from PIL import Image, ImageDraw

openai = pytest.importorskip("openai")
anthropic = pytest.importorskip("anthropic")


@pytest.fixture(scope="module")
def shown():
    """A page with a word on it, in base64."""
    picture = Image.new("RGB", (160, 48), "white")
    ImageDraw.Draw(picture).text((8, 12), "Total 42", fill="black", font_size=24)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_each_api_reads_the_same_from_a_picture(address, shown):
    url = f"data:image/png;base64,{shown}"
    said = []
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none") as client:
        parts = [
            {"type": "image_url", "image_url": {"url": url}},
            {"type": "text", "text": "Free OCR."},
        ]
        asked = [{"role": "user", "content": parts}]
        answer = client.chat.completions.create(
            model="nano-ocr", messages=asked, max_tokens=12, temperature=0
        )
        said.append(answer.choices[0].message.content)
        items = [
            {"type": "input_image", "image_url": url},
            {"type": "input_text", "text": "Free OCR."},
        ]
        response = client.responses.create(
            model="nano-ocr",
            input=[{"role": "user", "content": items}],
            max_output_tokens=12,
            temperature=0,
        )
        said.append(response.output_text)
    with anthropic.Anthropic(base_url=address, api_key="none") as client:
        source = {"type": "base64", "media_type": "image/png", "data": shown}
        blocks = [{"type": "image", "source": source}, {"type": "text", "text": "Free OCR."}]
        message = client.messages.create(
            model="nano-ocr",
            messages=[{"role": "user", "content": blocks}],
            max_tokens=12,
            extra_body={"temperature": 0},
        )
        said.append(message.content[-1].text)
    assert said[0]
    assert len(set(said)) == 1


def test_a_picture_that_is_none_is_told(address):
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    with (
        openai.OpenAI(base_url=f"{address}/v1", api_key="none") as client,
        pytest.raises(openai.BadRequestError),
    ):
        client.chat.completions.create(
            model="nano-ocr", messages=[{"role": "user", "content": [part]}]
        )
