"""nano-ocr's config.json: DeepSeek-OCR in miniature, with every key that the release has."""

from mlx_deepseek.layers.rope import Json

VIEW_PX = 192
CONTEXT = 512


def nano_ocr_config(vocab: int) -> Json:
    """The config of nano-ocr, in the layout of DeepSeek-OCR's own file."""
    language = {
        "architectures": ["DeepseekV2ForCausalLM"],
        "bos_token_id": 0,
        "eos_token_id": 1,
        "first_k_dense_replace": 1,
        "hidden_size": 160,
        "intermediate_size": 384,
        "kv_lora_rank": None,
        "lm_head": True,
        "max_position_embeddings": CONTEXT,
        "moe_intermediate_size": 96,
        "n_group": 1,
        "n_routed_experts": 6,
        "n_shared_experts": 1,
        "num_attention_heads": 5,
        "num_experts_per_tok": 2,
        "num_hidden_layers": 3,
        "num_key_value_heads": 5,
        "q_lora_rank": None,
        "qk_nope_head_dim": 0,
        "qk_rope_head_dim": 0,
        "rm_head": False,
        "topk_group": 1,
        "topk_method": "greedy",
        "torch_dtype": "bfloat16",
        "use_mla": False,
        "v_head_dim": 0,
        "vocab_size": vocab,
    }
    return {
        "architectures": ["DeepseekOCRForCausalLM"],
        "bos_token_id": 0,
        "candidate_resolutions": [[VIEW_PX, VIEW_PX]],
        "eos_token_id": 1,
        "global_view_pos": "head",
        "language_config": language,
        "model_type": "deepseek_vl_v2",
        "projector_config": {
            "input_dim": 256,
            "model_type": "mlp_projector",
            "n_embed": 160,
            "projector_type": "linear",
        },
        "tile_tag": "2D",
        "torch_dtype": "bfloat16",
        "vision_config": {
            "image_size": VIEW_PX,
            "mlp_ratio": 3.7362,
            "model_name": "deeplip_b_l",
            "model_type": "vision",
            "width": {
                "clip-l-14-224": {
                    "heads": 4,
                    "image_size": 42,
                    "layers": 2,
                    "patch_size": 14,
                    "width": 128,
                },
                "sam_vit_b": {
                    "downsample_channels": [96, 128],
                    "global_attn_indexes": [3],
                    "heads": 4,
                    "layers": 4,
                    "out_chans": 64,
                    "width": 96,
                    "window_size": 6,
                },
            },
        },
    }
