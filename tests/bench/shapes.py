"""Parts of config.json that several benchmarks share."""

# DeepSeek-V3's way of choosing experts.
V3_ROUTER = {
    "topk_method": "noaux_tc",
    "scoring_func": "sigmoid",
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
}
