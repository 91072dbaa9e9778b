"""Pictures, asked by OpenAI's own client, of a tiny Janus."""

import base64
import io

import pytest
from PIL import Image

import mlx_deepseek as ds
from mlx_deepseek_app.server.models_loaded import LoadedModels
from mlx_deepseek_app.server.site import build
from tests.app.server.serving import serving
from tests.image_generation import tiny

openai = pytest.importorskip("openai")


@pytest.fixture(scope="module")
def client(goldens_root, tmp_path_factory):
    monkey = pytest.MonkeyPatch()
    monkey.setenv("MLX_DEEPSEEK_CACHE", str(tmp_path_factory.mktemp("cache")))
    folder = tiny.release(goldens_root / "janus", tmp_path_factory.mktemp("release") / "janus")

    def load(source, progress=None):
        return ds.load(source, dtype="float32", progress=progress)

    models = LoadedModels(load, ["nano", str(folder)])
    with (
        serving(build(models)) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client
    models.close()
    monkey.undo()


def test_pictures(client):
    answer = client.images.generate(
        model="janus", prompt="a red bicycle", n=2, extra_body={"seed": 3}
    )
    shown = [Image.open(io.BytesIO(base64.b64decode(one.b64_json))) for one in answer.data]
    assert len(shown) == 2
    assert shown[0].tobytes() != shown[1].tobytes()
    again = client.images.generate(model="janus", prompt="a red bicycle", extra_body={"seed": 3})
    assert again.data[0].b64_json == answer.data[0].b64_json


def test_models_that_draw_nothing_say_so(client):
    with pytest.raises(openai.BadRequestError, match="draws no pictures"):
        client.images.generate(model="nano", prompt="a red bicycle")
