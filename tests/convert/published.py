"""Parameter counts that others published, to hold ours against.

`name` is the publisher's round figure. `stored` is an exact count of what the repository stores,
where one is public: the total that the Hugging Face API gives for its safetensors files (FP8 scale
tensors counted), or half the `total_size` in bytes of a BF16 checkpoint's index. V3.2's index, of
FP8 files, counts two bytes a number as well.
"""

from typing import NamedTuple


class Published(NamedTuple):
    """A round figure such as "6.7B", the exact stored count if known, and why they differ.

    Or how many `tensors` an index lists.
    """

    name: str
    stored: int | None = None
    how: str = ""
    note: str = ""
    tensors: int | None = None


API = "HF API, safetensors total"
INDEX = "index total_size / 2"
LISTED = "parameter count in public listings"
REPORT = "stored parameters in a public report"

FP8_TOTAL = 684_531_386_000  # BF16 3,918,786,560 + F8_E4M3 680,571,043,840 + F32 41,555,600
POOLING = "stored: with SigLIP's unused pooling head"
V3 = Published("671B", FP8_TOTAL, API, "stored: with MTP (13.5B) and FP8 scales (0.04B)")
V32 = Published(
    "671B",
    1_370_793_842_752 // 2,
    INDEX,
    "V3's 671B and 0.85B of indexers; stored: with MTP and FP8 scales",
)
V32_LISTED = V32._replace(how=LISTED)
V4_FLASH = Published("284B", tensors=69_187, note="stored: with the MTP layer")
V4_FLASH_DATED = Published("284B", tensors=72_317, note="stored: with DSpark's stages")
V4_PRO = Published("1600B", tensors=145_116, note="published: with the MTP layer")
V4_PRO_DATED = Published("1600B", tensors=149_782, note="published: with an MTP layer")
V41_FLASH = Published("748B", tensors=96_085, note="of which 197B are Engram's tables")
LLM_7B = Published("7B", 6_910_365_696, LISTED, "rounded name")
CODER_6P7B = Published("6.7B", 6_740_512_768, LISTED, "rounded name")
CODER_1P3B = Published("1.3B", 1_346_471_936, LISTED, "rounded name")
CODER_33B = Published("33B", note="rounded name")
LLM_67B = Published("67B", 134_850_002_944 // 2, INDEX, "rounded name")
MOE_16B = Published("16.4B", 16_375_728_128, LISTED)
V2 = Published("236B", 235_741_434_880, LISTED)
V2_LITE = Published("15.7B", 31_412_968_448 // 2, INDEX)
# What the files' sizes say: 3.95 GB, and 4.98 + 4.96 + 4.75 GB, of float16.
VL_1P3B = Published("1.98B", note=POOLING)
VL_7B = Published("7.34B", note=POOLING)
JANUS = Published("2.09B", note=POOLING)
CODER_V2_LITE = Published("16B", 31_412_968_448 // 2, INDEX, "V2-Lite's 15.7B, rounded up")

PUBLISHED = {
    "deepseek-coder-1.3b-base": CODER_1P3B,
    "deepseek-coder-1.3b-instruct": CODER_1P3B,
    "deepseek-coder-5.7bmqa-base": Published("5.7B"),
    "deepseek-coder-6.7b-base": CODER_6P7B,
    "deepseek-coder-6.7b-instruct": CODER_6P7B,
    "deepseek-coder-33b-base": CODER_33B,
    "deepseek-coder-33b-instruct": CODER_33B,
    "deepseek-coder-7b-base-v1.5": LLM_7B,
    "deepseek-coder-7b-instruct-v1.5": LLM_7B,
    "deepseek-llm-7b-base": LLM_7B,
    "deepseek-llm-7b-chat": LLM_7B,
    "deepseek-llm-67b-base": LLM_67B,
    "deepseek-llm-67b-chat": LLM_67B,
    "deepseek-math-7b-base": LLM_7B,
    "deepseek-math-7b-instruct": LLM_7B,
    "deepseek-math-7b-rl": LLM_7B,
    "deepseek-moe-16b-base": MOE_16B,
    "deepseek-moe-16b-chat": MOE_16B,
    "ESFT-vanilla-lite": V2_LITE,
    "DeepSeek-V2": V2,
    "DeepSeek-V2-Chat": V2,
    "DeepSeek-V2-Chat-0628": V2,
    "DeepSeek-V2.5": V2,
    "DeepSeek-V2.5-1210": V2,
    "DeepSeek-V2-Lite": V2_LITE,
    "DeepSeek-V2-Lite-Chat": V2_LITE,
    "DeepSeek-Coder-V2-Base": V2,
    "DeepSeek-Coder-V2-Instruct": V2,
    "DeepSeek-Coder-V2-Instruct-0724": V2,
    "DeepSeek-Coder-V2-Lite-Base": CODER_V2_LITE,
    "DeepSeek-Coder-V2-Lite-Instruct": CODER_V2_LITE,
    "DeepSeek-Prover-V1": LLM_7B,
    "DeepSeek-Prover-V1.5-Base": LLM_7B,
    "DeepSeek-Prover-V1.5-SFT": LLM_7B,
    "DeepSeek-Prover-V1.5-RL": LLM_7B,
    "DeepSeek-Prover-V2-7B": LLM_7B,
    "DeepSeek-Prover-V2-671B": V3,
    "DeepSeek-V3-Base": V3,
    "DeepSeek-V3": V3,
    "DeepSeek-V3-0324": V3,
    "DeepSeek-V3.1-Base": V3,
    "DeepSeek-V3.1": V3,
    "DeepSeek-V3.1-Terminus": V3,
    "DeepSeek-V3.2-Exp-Base": V32._replace(how="V3.2-Exp's, which was trained from it"),
    "DeepSeek-V3.2-Exp": V32_LISTED,
    "DeepSeek-V3.2": V32,
    "DeepSeek-V3.2-Speciale": V32_LISTED,
    "DeepSeek-Math-V2": V32_LISTED,
    "DeepSeek-V4-Flash-Base": V4_FLASH,
    "DeepSeek-V4-Flash": V4_FLASH,
    "DeepSeek-V4-Pro-Base": V4_PRO,
    "DeepSeek-V4-Pro": V4_PRO,
    "DeepSeek-V4-Flash-DSpark": V4_FLASH_DATED,
    "DeepSeek-V4-Pro-DSpark": V4_PRO_DATED,
    "DeepSeek-V4-Flash-0731": V4_FLASH_DATED,
    "DeepSeek-V4-Pro-0813": V4_PRO_DATED,
    "DeepSeek-V4-Flash-Vision-Exp": Published(
        "304.6B", tensors=72_633, note="published: with DSpark's stages and the vision model"
    ),
    "DeepSeek-V4.1-Flash": V41_FLASH,
    "DeepSeek-V4.1-Flash-1017": V41_FLASH,
    "deepseek-vl-1.3b-base": VL_1P3B,
    "deepseek-vl-1.3b-chat": VL_1P3B,
    "deepseek-vl-7b-base": VL_7B,
    "deepseek-vl-7b-chat": VL_7B,
    "deepseek-vl2-tiny": Published("3.37B", note=POOLING),
    "deepseek-vl2-small": Published("16.1B"),
    "deepseek-vl2": Published("27.5B"),
    "DeepSeek-OCR": Published("3.34B", 3_336_106_240, REPORT, "stored: with CLIP's unused patches"),
    "DeepSeek-OCR-2": Published("3.39B"),
    "Janus-1.3B": JANUS,
    "Janus-Pro-1B": JANUS._replace(how="Janus-1.3B's, of the same shape"),
    "Janus-Pro-7B": Published("7.42B", note=POOLING),
    "JanusFlow-1.3B": Published("2.05B", note=f"{POOLING}; the VAE is another repository's"),
    "DeepSeek-R1-Zero": V3,
    "DeepSeek-R1": V3,
    "DeepSeek-R1-0528": V3,
    "DeepSeek-R1-0528-Qwen3-8B": Published("8.2B", 8_190_735_360, API),
    "DeepSeek-R1-Distill-Qwen-1.5B": Published(
        "1.54B", 3_554_176_000 // 2, INDEX, "Qwen2.5-1.5B ties its head (0.23B), the distill not"
    ),
    "DeepSeek-R1-Distill-Qwen-7B": Published("7.61B", 7_615_616_512, LISTED),
    "DeepSeek-R1-Distill-Qwen-14B": Published("14.7B", 14_770_033_664, LISTED),
    "DeepSeek-R1-Distill-Qwen-32B": Published(
        "32.5B", 65_527_752_704 // 2, INDEX, "Qwen's card says 32.5B, its own files hold 32.76B"
    ),
    "DeepSeek-R1-Distill-Llama-8B": Published("8.03B", 8_030_261_248, API),
    "DeepSeek-R1-Distill-Llama-70B": Published("70.6B", 70_553_706_496, API),
}
