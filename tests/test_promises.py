"""What README and docs promise, tried from outside: in processes where the opposite would show."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from mlx_deepseek.catalog.embedded import checkpoint_path

# Which releases of transformers are installed does not matter: ours asks for no tokenizer of
# theirs, so pyproject has no bound. mlx-lm imports two of its names; using either ends the test.
POISON = """
class Poisoned(type):
    def __call__(cls, *args, **kwargs):
        raise SystemExit("transformers was asked")
    def register(cls, *args, **kwargs):
        pass  # what mlx-lm does on import
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        raise SystemExit("transformers was asked for " + name)

def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return Poisoned(name, (), {})
"""
ANSWER = """
import mlx_deepseek as ds
engine = ds.load("nano")
done = engine.generate("What is 347 + 586?", temperature=0, max_tokens=16)
print(repr(done.reasoning), engine.processor.tokenizer.encode("Größe  and ½\\n"))
"""


def run(code: str, folder: Path, **variables: str) -> str:
    """What a fresh Python prints, `folder` first on its path."""
    environment = {**os.environ, **variables, "MLX_DEEPSEEK_CACHE": str(folder / "cache")}
    path = os.pathsep.join([str(folder), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_no_tokenizer_of_transformers_is_asked(tmp_path):
    plain = run(ANSWER, tmp_path)
    (tmp_path / "transformers").mkdir()
    for name in ("__init__", "tokenization_utils_base"):
        (tmp_path / "transformers" / f"{name}.py").write_text(POISON)
    assert run("import transformers; print(transformers.__file__)", tmp_path).startswith(
        str(tmp_path)
    )
    assert run(ANSWER, tmp_path) == plain


LONELY = """
import socket
real, asked = socket.getaddrinfo, []
def connect(self, address, *rest):
    asked.append(address)
    raise OSError("no network here")
def lookup(host, *rest, **more):
    asked.append(host)
    raise socket.gaierror("no network here")
socket.socket.connect = socket.socket.connect_ex = connect
socket.getaddrinfo = lookup
from PIL import Image
import mlx_deepseek as ds
from mlx_deepseek.cli import main
engine = ds.load("nano")
engine.generate("What is 347 + 586?", max_tokens=4)
engine.chat().say("Hello", max_tokens=4)
list(ds.load("nano-ocr").read(Image.new("RGB", (64, 64), "white"), max_tokens=4))
main(["info", "nano"])
main(["models"])
print("asked", asked)
"""


def test_nothing_leaves_the_machine(tmp_path):
    assert run(LONELY, tmp_path).splitlines()[-1] == "asked []"


def test_code_that_comes_with_a_model_is_never_run(tmp_path):
    folder, ran = tmp_path / "model", tmp_path / "ran"
    shutil.copytree(checkpoint_path(), folder)
    for name in ("modeling_x", "tokenization_x", "configuration_x", "model", "mlx_x"):
        (folder / f"{name}.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {
        "AutoConfig": "configuration_x.X",
        "AutoModel": "modeling_x.X",
        "AutoTokenizer": ["tokenization_x.X", "tokenization_x.X"],
    }
    config["model_file"] = "mlx_x.py"
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings |= {"auto_map": config["auto_map"], "tokenizer_class": "X"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    ask = f"import mlx_deepseek as ds; ds.load({str(folder)!r}).generate('3 + 4?', max_tokens=3)"
    refused = (
        f"import mlx_deepseek as ds\ntry:\n    {ask}\nexcept ds.ConfigError as e:\n    print(e)"
    )
    (folder / "config.json").write_text(json.dumps(config))
    assert "model_file" in run(refused, tmp_path)  # what mlx-lm would import is no known key
    del config["model_file"]
    (folder / "config.json").write_text(json.dumps(config))
    run(ask, tmp_path)
    assert not ran.exists()
