"""The small HTML pieces: what they say, and that nothing in them is live."""

from types import SimpleNamespace

from mlx_deepseek.completion import Usage
from mlx_deepseek_app import sources, status
from mlx_deepseek_app.model import ModelFacts, facts
from mlx_deepseek_app.session import Conversation
from tests.app.scripted import Chunk, ScriptedEngine

NASTY = "<img src=x onerror=alert(1)>"


def test_names_and_errors_are_escaped():
    for piece in (
        status.chip(ModelFacts(name=NASTY)),
        status.progress(NASTY, (NASTY, 1, 2), 1.0),
        status.load_failed(NASTY, NASTY, NASTY),
        status.welcome(ModelFacts(name=NASTY)),
    ):
        assert "<img" not in piece


def test_the_meter_counts_prompt_and_answer_against_the_window():
    usage = Usage(prompt_tokens=1000, completion_tokens=24, generation_tps=41.6)
    talk = Conversation().ask("x").write([(0.1, Chunk(text="a", usage=usage))])
    meter = status.meter(talk, ModelFacts(window=4096))
    assert "42 tokens/s" in meter
    assert "1,024 / 4,096" in meter
    assert " full" not in meter
    assert " full" in status.meter(talk, ModelFacts(window=1100))


def test_the_meter_tells_the_wait_the_cached_tokens_and_the_memory():
    usage = Usage(1000, 24, cached_tokens=900, prompt_tps=50.0, peak_memory_bytes=3 << 29)
    talk = Conversation().ask("x").write([(0.1, Chunk(text="a", usage=usage))])
    meter = status.meter(talk, ModelFacts(window=4096))
    for cost in ("24 new tokens", "first after 2.00 s", "900 cached", "1.50 GiB at most"):
        assert cost in meter


def test_recommended_values_come_from_the_catalog_entry():
    advice = SimpleNamespace(temperature=0.6, top_p=0.95, max_tokens=32768)
    engine = ScriptedEngine(entry=SimpleNamespace(sampling=advice))
    known = facts(engine)
    assert (known.temperature, known.top_p) == (0.6, 0.95)
    assert known.max_tokens == engine.context_length
    assert facts(ScriptedEngine()).temperature == 0.0


def test_downloaded_models_are_offered_when_complete(tmp_path):
    def repo(name, config, weights=True):
        folder = tmp_path / name / "snapshots" / "abc"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(config)
        if weights:
            (folder / "model.safetensors").touch()

    repo("models--deepseek-ai--DeepSeek-V2-Lite", '{"model_type": "deepseek_v2"}')
    repo("models--other--thing", '{"model_type": "bert"}')
    repo("models--deepseek-ai--half", '{"model_type": "deepseek_v3"}', weights=False)
    repo("models--deepseek-ai--damaged", "{")
    assert sources.cached_repos(tmp_path) == ["deepseek-ai/DeepSeek-V2-Lite"]


def test_the_picker_always_offers_nano_and_the_current_model():
    offered = dict((source, label) for label, source in sources.choices("/models/mine"))
    assert next(iter(offered)) == "nano"
    assert offered["/models/mine"] == "/models/mine"
