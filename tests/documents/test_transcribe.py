"""A tiny model that sees reads documents through the engine, alone and in batches alike."""

import mlx.core as mx
import pytest
from PIL import Image

from mlx_deepseek import models
from mlx_deepseek.catalog.embedded import checkpoint_path
from mlx_deepseek.checkpoint.load import Loaded
from mlx_deepseek.checkpoint.tokenizer import load_tokenizer
from mlx_deepseek.engine import Caching, Engine
from mlx_deepseek.engine.caching import Caches
from mlx_deepseek.errors import ImageError, PromptError
from mlx_deepseek.prompts.formats.plain_text import PlainChat
from mlx_deepseek.runtime.compute_thread import shared_worker
from tests.documents.made import text_pdf
from tests.generation.test_prompt_images import OneView, Seer

PICTURE = "<｜fim▁hole｜>"
COLOURS = [(200, 30, 10), (10, 220, 40), (90, 20, 250), (240, 240, 10), (5, 5, 5)]


class Colours(OneView):
    """Sees all of a picture's colours, in a line."""

    def pixels(self, picture, plan):
        seen = super().pixels(picture.resize((1, 1)), plan)
        mx.eval(seen.view)
        return seen


TEXT = {"model_type": "llama", "hidden_size": 24, "num_hidden_layers": 2, "vocab_size": 1024}
TEXT |= {"num_attention_heads": 2, "intermediate_size": 32, "rms_norm_eps": 1e-6}
LANGUAGE = {
    "hidden_size": 60,
    "intermediate_size": 96,
    "moe_intermediate_size": 20,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
    "topk_method": "greedy",
    "n_routed_experts": 8,
    "n_shared_experts": 2,
    "num_experts_per_tok": 3,
    "num_attention_heads": 5,
    "num_key_value_heads": 5,
    "num_hidden_layers": 3,
    "q_lora_rank": None,
    "kv_lora_rank": None,
    "qk_nope_head_dim": 0,
    "qk_rope_head_dim": 0,
    "v_head_dim": 0,
    "use_mla": False,
    "max_position_embeddings": 8192,
    "vocab_size": 1024,
}
CLIP = {"heads": 4, "image_size": 224, "layers": 2, "patch_size": 14, "width": 32}
SAM = {"downsample_channels": [24, 32], "global_attn_indexes": [1, 2], "heads": 2, "layers": 3}
SAM |= {"width": 24, "out_chans": 16}
OCR = {
    "model_type": "deepseek_vl_v2",
    "language_config": LANGUAGE,
    "projector_config": {"input_dim": 64, "n_embed": 60, "projector_type": "linear"},
    "vision_config": {
        "image_size": 512,
        "model_name": "deeplip_b_l",
        "width": {"clip-l-14-224": CLIP, "sam_vit_b": SAM},
    },
}


def sharp(model):
    """Random weights whose answers have no ties."""
    model.lm_head.weight = model.lm_head.weight * 30
    mx.eval(model.parameters())
    return model


def engine_of(context_length=64, model=None) -> Engine:
    """An engine of random weights, which has as many tokens as nano's tokenizer."""
    mx.random.seed(1)
    model = model or Seer(sharp(models.build(TEXT)), Colours())
    folder = checkpoint_path()
    loaded = Loaded(
        name="seer",
        folder=folder,
        config=TEXT,
        model=model,
        tokenizer=load_tokenizer(folder, {"eos_token_id": 1}),
        prompt_format=PlainChat("seer", picture=PICTURE, gap="\n"),
        entry=None,
        context_length=context_length,
        suggestions=(),
    )
    return Engine(loaded, shared_worker(), Caches(loaded, Caching(), None))


def finished(states) -> dict:
    """The last state of each page by its picture's first colour."""
    return {state.picture.getpixel((0, 0)): state for state in states if state.finish}


def test_batches_read_what_single_pages_read():
    engine = engine_of()
    pictures = [Image.new("RGB", (9, 9), colour) for colour in COLOURS]
    alone = finished(engine.read(*pictures, batch=1, max_tokens=12))
    assert {state.finish for state in alone.values()} <= {"stop", "length"}
    assert len({state.answer for state in alone.values()}) > 2  # the model looks at them
    for batch in (2, 5):
        together = finished(engine.read(*pictures, batch=batch, max_tokens=12))
        assert {c: s.answer for c, s in together.items()} == {c: s.answer for c, s in alone.items()}


def test_the_engine_alone_writes_the_same():
    engine = engine_of()
    picture = Image.new("RGB", (9, 9), COLOURS[0])
    (state,) = finished(engine.read(picture, prompt="Hello", max_tokens=12)).values()
    answer = engine.generate("Hello", images=[picture], max_tokens=12)
    assert state.answer == answer.text
    assert state.cost.completion_tokens == answer.usage.completion_tokens


def test_costs():
    (state,) = finished(engine_of().read(Image.new("RGB", (9, 9)), max_tokens=5)).values()
    assert state.cost.vision_tokens == 4  # of 7 slots
    assert state.cost.completion_tokens == 5
    assert state.finish == "length"
    assert state.cost.text_tokens > 0
    assert state.cost.compression == state.cost.text_tokens / 4


def test_pages_without_room_are_reported():
    states = list(engine_of(context_length=8).read(text_pdf("a", "b"), batch=2))
    assert [state.number for state in states] == [1, 2]
    assert all("context window of 8" in state.error for state in states)


def test_bad_pages_among_good_ones():
    sources = [b"", Image.new("RGB", (9, 9)), b"%PDF-", Image.new("RGB", (0, 9))]
    ends = [state for state in engine_of().read(*sources, max_tokens=3) if state.finish]
    assert sorted(sources.index(state.source) for state in ends) == [0, 1, 2, 3]
    assert [state.finish for state in ends if not state.error] == ["length"]


def test_text_grows_and_closing_ends_it():
    states = engine_of().read(Image.new("RGB", (9, 9)), Image.new("RGB", (9, 9)), max_tokens=20)
    before = next(states).answer
    for _ in range(10):
        state = next(states)
        if state.source is not None and state.answer:
            before = max(before, state.answer, key=len)
    states.close()
    assert before


def test_refusals():
    with pytest.raises(PromptError, match="batch is 0"):
        engine_of().read("a.png", batch=0)
    with pytest.raises(PromptError, match="empty"):
        next(engine_of().read("a.png", prompt=""))
    with pytest.raises(PromptError, match="one way only"):
        engine_of().read("a.png", mode="base")
    blind = engine_of(model=models.build(TEXT))
    with pytest.raises(PromptError, match="reads no pictures"):
        blind.read("a.png")


@pytest.fixture(scope="module")
def ocr() -> Engine:
    """DeepSeek-OCR's architecture with all its parts, tiny and untrained."""
    mx.random.seed(2)
    model = models.build(OCR)
    sharp(model.language)
    model.projector.weight = model.projector.weight * 30  # or all pictures look alike
    return engine_of(context_length=8192, model=model)


@pytest.mark.parametrize(
    ("mode", "vision"), [("tiny", 64), ("small", 100), ("base", 128), (None, 128 + 200)]
)
def test_the_ocr_architecture_reads_pdfs_in_its_modes(ocr, mode, vision):
    *_, end = ocr.read(text_pdf("one", box=b"0 0 400 200"), mode=mode, max_tokens=2)
    assert end.cost.vision_tokens == vision
    assert end.finish in ("stop", "length")


def test_unknown_modes_are_refused(ocr):
    with pytest.raises(ImageError, match=r"'huge'. Expected one of tiny"):
        ocr.read("a.png", mode="huge")


def test_ocr_batches_read_what_single_pages_read(ocr):
    pictures = [Image.new("RGB", (90, 70), colour) for colour in COLOURS[:4]]
    pictures.append(Image.linear_gradient("L").convert("RGB"))

    def answers(batch):
        states = ocr.read(*pictures, mode="tiny", batch=batch, max_tokens=8)
        return {pictures.index(state.source): state.answer for state in states if state.finish}

    alone = answers(1)
    assert len(set(alone.values())) > 1
    assert answers(3) == alone
