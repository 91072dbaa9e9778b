"""Models that draw, and the VAE: what is quantized, the way back, SDXL's real sizes."""

import math
import shutil

import mlx.core as mx
import numpy as np
import pytest

from mlx_deepseek.checkpoint.load_weights import load_model, load_source
from mlx_deepseek.checkpoint.safetensors_header import read_header
from mlx_deepseek_convert import convert, export, plan
from mlx_deepseek_convert.mapping.ops import Kernel, Matrix
from mlx_deepseek_convert.planning.plan import make_plan
from tests.convert.released import released_source, released_tensors
from tests.convert.test_catalog import stored_elements
from tests.convert.test_release import raw

# config.json of stabilityai/sdxl-vae.
SDXL_VAE = {
    "_class_name": "AutoencoderKL",
    "_diffusers_version": "0.20.0.dev0",
    "_name_or_path": "../sdxl-vae/",
    "act_fn": "silu",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "force_upcast": True,
    "in_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "out_channels": 3,
    "sample_size": 1024,
    "scaling_factor": 0.13025,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}


@pytest.mark.parametrize("recipe", ["8bit", "4bit", "mxfp8"])
@pytest.mark.parametrize("case", ["janus", "janus_pro", "janusflow"])
def test_only_the_language_and_the_code_head_are_quantized(goldens_root, case, recipe):
    outputs = plan(goldens_root / case, recipe).outputs
    quantized = {output.name.split(".")[0] for output in outputs if output.setting}
    assert quantized == ({"language"} if case == "janusflow" else {"language", "code_head"})
    kept = {output.name.split(".")[0] for output in outputs if not output.setting}
    assert {"vision", "projector"} <= kept


@pytest.fixture
def vae(goldens_root):
    return goldens_root / "janusflow" / "vae"


def test_the_vaes_names_are_those_of_the_release(vae, golden_config):
    header = read_header(vae / "diffusion_pytorch_model.safetensors")[0]
    stored = {name: tuple(info.shape) for name, info in header.items()}
    computed = released_tensors(golden_config("janusflow/vae"))
    assert {name: shape for name, _, shape in computed} == stored


def test_sdxls_vae_in_numbers():
    source = released_source(SDXL_VAE)
    assert (source.stored, stored_elements(source)) == (248, 83_653_863)  # as its files hold
    planned = make_plan(source, "bf16")
    assert planned.parameters == 49_490_199  # without the encoder
    assert planned.summary()["model_type"] == "autoencoder_kl"


def test_a_converted_vae_decodes_what_the_release_does(vae, tmp_path):
    convert(vae, tmp_path / "mlx", "bf16")
    ours, _ = load_model(tmp_path / "mlx", dtype=mx.float32)
    theirs, _ = load_source(vae, mx.float32)
    latents = mx.random.normal((1, 4, 4, 4), key=mx.random.key(0))
    error = np.abs(np.array(ours(latents)) - np.array(theirs(latents))).max()
    assert error < 0.05  # the release is in float32


def test_a_vae_there_and_back_again(vae, tmp_path):
    convert(vae, tmp_path / "mlx", "bf16")
    export(tmp_path / "mlx", tmp_path / "back")
    back = raw(tmp_path / "back")
    release = read_header(vae / "diffusion_pytorch_model.safetensors")[0]
    expected = {n for n in release if n.startswith(("decoder.", "post_quant_conv."))}
    assert set(back) == expected
    assert sum(math.prod(release[name].shape) for name in back) == plan(vae, "bf16").parameters


def test_other_files_of_the_vaes_repository_are_left_alone(vae, tmp_path):
    """The original weights, in names that diffusers does not know, lie beside diffusers' own."""
    folder = tmp_path / "sdxl-vae"
    shutil.copytree(vae, folder)
    mx.save_safetensors(str(folder / "sdxl_vae.safetensors"), {"first_stage.x": mx.zeros(3)})
    assert plan(folder, "bf16").parameters == plan(vae, "bf16").parameters


def test_matrices_and_kernels():
    kernel = mx.arange(6).reshape(2, 3, 1, 1)
    (matrix,) = Matrix().apply([kernel])
    assert Matrix().shapes([kernel.shape]) == ((2, 3),) == (matrix.shape,)
    (back,) = Kernel().apply([matrix])
    assert Kernel().shapes([matrix.shape]) == (kernel.shape,)
    assert mx.array_equal(back, kernel)
    with pytest.raises(ValueError, match="one place"):
        Matrix().shapes([(2, 3, 3, 3)])
