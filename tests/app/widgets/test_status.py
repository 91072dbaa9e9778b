"""The small HTML pieces: what they say, and that nothing in them is live."""

from types import SimpleNamespace

from mlx_deepseek.generation.results import Usage
from mlx_deepseek_app.chat.start_html import hero_html, suggestions_html
from mlx_deepseek_app.conversation.conversation import Conversation
from mlx_deepseek_app.jobs.model_info import ModelFacts, facts
from mlx_deepseek_app.models import choices
from mlx_deepseek_app.models.choices import Choice
from mlx_deepseek_app.models.loads import Speed
from mlx_deepseek_app.models.menu_html import menu_html
from mlx_deepseek_app.widgets import status
from tests.app.scripted import Chunk, ScriptedEngine

NASTY = "<img src=x onerror=alert(1)>"


def test_names_and_errors_are_escaped():
    for piece in (
        menu_html(ModelFacts(name=NASTY), NASTY, [Choice(NASTY, NASTY, NASTY, 1)], 2),
        status.progress(NASTY, status.Progress(NASTY, 1, 2, 1.0), NASTY),
        status.load_failed(NASTY, NASTY, NASTY),
        hero_html(ModelFacts(name=NASTY)),
        suggestions_html(ModelFacts(name=NASTY, suggestions=(NASTY,))),
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


def test_a_download_tells_how_fast_it_is_and_how_long_it_takes():
    speed = Speed()
    for second in range(30):
        speed.note("download", second * 50_000_000, float(second))
    told = status.Progress("download", 1_500_000_000, 9_000_000_000, 29.0, speed.per_s).words()
    assert told == ["Downloading", "1.50 of 9.00 GB", "50 MB/s", "2 min left"]
    speed.note("convert", 0, 30.0)
    assert speed.per_s == 0
    assert [status.duration(one) for one in (40, 600, 12_000)] == ["40 s", "10 min", "3 h 20 min"]


def test_an_empty_chat_offers_what_the_model_is_for():
    asked = ("<|grounding|>x", "say: hello")
    plain = suggestions_html(ModelFacts(name="x", suggestions=asked))
    assert "say: hello" in plain
    assert "grounding" not in plain
    assert 'href="#documents"' in suggestions_html(ModelFacts(name="nano-ocr", sees=True))


def test_the_meter_tells_the_wait_the_cached_tokens_and_the_memory():
    usage = Usage(1000, 24, cached_tokens=900, prompt_tps=50.0, peak_memory_bytes=3 << 29)
    talk = Conversation().ask("x").write([(0.1, Chunk(text="a", usage=usage))])
    meter = status.meter(talk, ModelFacts(window=4096))
    for cost in ("24 new tokens", "first after 2.00 s", "900 cached", "1.50 GiB at most"):
        assert cost in meter


def test_the_meter_tells_what_experts_on_disk_cost():
    usage = Usage(10, 5, expert_hit_rate=0.625, disk_bytes_per_token=3 << 29, waiting_share=0.7)
    told = status.costs(usage)
    for cost in ("62% of experts found in memory", "1.50 GiB read per token", "70% of the time"):
        assert any(cost in one for one in told)
    assert not any("experts" in one for one in status.costs(Usage(10, 5)))


def test_recommended_values_come_from_the_catalog_entry():
    advice = SimpleNamespace(temperature=0.6, top_p=0.95, max_tokens=32768)
    engine = ScriptedEngine(entry=SimpleNamespace(sampling=advice))
    known = facts(engine)
    assert (known.temperature, known.top_p) == (0.6, 0.95)
    assert known.max_tokens == engine.context_length
    assert facts(ScriptedEngine()).temperature == 0.0


def test_downloaded_models_are_offered_when_complete(tmp_path, monkeypatch):
    def repo(name, config, weights=True):
        folder = tmp_path / name / "snapshots" / "abc"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(config)
        if weights:
            (folder / "model.safetensors").touch()

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("MLX_DEEPSEEK_CACHE", str(tmp_path / "converted"))

    repo("models--deepseek-ai--DeepSeek-V2-Lite", '{"model_type": "deepseek_v2"}')
    repo("models--other--thing", '{"model_type": "bert"}')
    repo("models--deepseek-ai--half", '{"model_type": "deepseek_v3"}', weights=False)
    repo("models--deepseek-ai--damaged", "{")
    found = [one for one in choices.offered() if "/" in one.source]
    assert [one.source for one in found] == ["deepseek-ai/DeepSeek-V2-Lite"]
    assert "downloaded" in menu_html(ModelFacts(), "nano", found, 10**9)


def test_the_picker_always_offers_nano_and_the_current_model():
    offered = dict((source, label) for label, source in choices.choices("/models/mine"))
    assert next(iter(offered)) == "nano"
    assert offered["/models/mine"] == "/models/mine"
