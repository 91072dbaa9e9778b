"""`mlx-deepseek draw`: files, JSON, many prompts, going on after a break, wrong words."""

import json
from pathlib import Path

import pytest
from PIL import Image

from mlx_deepseek.cli import main
from mlx_deepseek.image_generation.draw import read_origin
from tests.image_generation import tiny


@pytest.fixture(scope="module")
def model(goldens_root, tmp_path_factory):
    from mlx_deepseek_convert import convert

    release = tiny.release(goldens_root / "janus_pro", tmp_path_factory.mktemp("release") / "janus")
    target = tmp_path_factory.mktemp("mlx") / "tiny-janus"
    convert(release, target, "8bit")
    return str(target)


def drawn(capsys, *words) -> list:
    assert main(["draw", *map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_pictures_and_what_made_them(model, tmp_path, capsys):
    made = drawn(capsys, model, "a red bicycle", "-n", 2, "-o", tmp_path / "out", "--seed", 5)
    assert [one["seed"] for one in made] == [5, 6]
    assert all(one["prompt"] == "a red bicycle" and one["guidance"] == 5.0 for one in made)
    for one in made:
        with Image.open(one["path"]) as picture:
            origin = read_origin(picture)
            assert picture.size == (48, 48)
        assert origin is not None
        assert (origin.seed, origin.recipe, origin.model) == (one["seed"], "8bit", "tiny-janus")
    assert drawn(capsys, model, "a red bicycle", "-n", 2, "-o", tmp_path / "out", "--seed", 5) == []


def test_paths_are_printed(model, tmp_path, capsys):
    words = ["draw", model, "a cat: no/where", "-o", str(tmp_path), "--best-of", "3"]
    assert main(words) == 0
    line = capsys.readouterr().out
    path, score = line.split()
    assert Image.open(path).size == (48, 48)
    assert 0 <= float(score) <= 1
    assert path.startswith(f"{tmp_path}/a-cat-no-where-")


def test_many_prompts_go_on_where_they_were(model, tmp_path, capsys):
    prompts, out = tmp_path / "prompts.txt", tmp_path / "out"
    prompts.write_text('a cat\n\n{"prompt": "a dog", "seed": 9, "n": 2, "guidance": 3}\n', "utf-8")
    made = drawn(capsys, model, "--prompts", prompts, "-o", out)
    assert [(one["prompt"], one["seed"], one["guidance"]) for one in made] == [
        ("a cat", 0, 5.0),
        ("a dog", 9, 3.0),
        ("a dog", 10, 3.0),
    ]
    before = {one["path"]: Path(one["path"]).read_bytes() for one in made}
    lost = made[1]["path"]
    (tmp_path / lost).unlink()
    with prompts.open("a") as file:
        file.write("a bird\n")
    again = drawn(capsys, model, "--prompts", prompts, "-o", out)
    assert [one["prompt"] for one in again] == ["a dog", "a dog", "a bird"]
    assert all(Path(path).read_bytes() == content for path, content in before.items())
    assert drawn(capsys, model, "--prompts", prompts, "-o", out) == []
    assert not [path for path in out.iterdir() if path.suffix != ".png"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no prompts"),
        ("{", "line 1"),
        ('a cat\n{"seed": 1}', "line 2"),
        ('{"prompt": "x", "size": 3}', "size is not known"),
        ('{"prompt": 3}', "prompt is not known"),
        ('{"prompt": "x", "n": 0}', "n is 0"),
        ('{"prompt": "x", "seed": "y"}', "seed"),
        (None, "cannot be read"),
    ],
)
def test_wrong_files_are_told(model, tmp_path, capsys, content, message):
    prompts = tmp_path / "prompts"
    if content is not None:
        prompts.write_text(content)
    assert main(["draw", model, "--prompts", str(prompts), "-o", str(tmp_path)]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a cat", "-n", "0"], "n is 0"),
        (["a cat", "--guidance", "nan"], "guidance is nan"),
        (["a cat", "--steps", "3"], "steps is set, but this model has none"),
        ([""], "the prompt is empty"),
        ([], "either a PROMPT or --prompts"),
        (["a cat", "--prompts", "x"], "either a PROMPT or --prompts"),
        (["a cat", "--temperature", "-1"], "temperature is -1"),
    ],
)
def test_wrong_words_are_told(model, tmp_path, capsys, words, message):
    assert main(["draw", model, *words, "-o", str(tmp_path / "out")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_to(model, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["draw", model, "a cat", "-o", str(tmp_path / "file" / "out")]) == 1
    assert "cannot be written" in capsys.readouterr().err
