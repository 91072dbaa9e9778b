"""What an installed wheel puts into site-packages, and that a user's own files do not shadow it."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return zipfile.ZipFile(next(target.glob("*.whl")))


def test_three_packages_and_nothing_else(wheel):
    roots = {name.split("/")[0] for name in wheel.namelist()}
    packages = {root for root in roots if not root.endswith(".dist-info")}
    assert packages == {"mlx_deepseek", "mlx_deepseek_app", "mlx_deepseek_convert"}


def test_nano_and_the_catalog_travel_with_it(wheel):
    names = wheel.namelist()
    assert any(n.startswith("mlx_deepseek/nano/") and n.endswith(".safetensors") for n in names)
    assert any(n.startswith("mlx_deepseek/catalog/") and n.endswith(".json") for n in names)
    assert sum(item.file_size for item in wheel.infolist()) < 20 * 2**20


def test_no_pickle_and_no_tests_travel(wheel):
    suffixes = {Path(name).suffix for name in wheel.namelist()}
    assert not suffixes & {".bin", ".pt", ".pth", ".pkl", ".pyc"}
    assert not any("tests/" in name for name in wheel.namelist())


def test_a_folder_with_app_py_shadows_nothing(tmp_path):
    for name in ("app.py", "convert.py", "engine.py", "config.py"):
        (tmp_path / name).write_text("raise SystemExit('the wrong module was imported')\n")
    code = "import mlx_deepseek, mlx_deepseek_convert, mlx_deepseek_app; print('fine')"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.stdout.strip() == "fine", result.stderr


def test_importing_the_library_loads_neither_gradio_nor_mlx():
    code = "import mlx_deepseek, sys; print({'gradio', 'mlx.core'} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "set()"
