"""Small configurations of each family of diffusers."""

TINY = {"encoder_block_out_channels": (8, 8), "decoder_block_out_channels": (8, 8)}
LDM = {
    "down_block_types": ["DownEncoderBlock2D", "AttnDownEncoderBlock2D"],
    "up_block_types": ["AttnUpDecoderBlock2D", "UpDecoderBlock2D"],
    "block_out_channels": [8, 16],
    "norm_num_groups": 4,
}
PLAIN = {
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
    "block_out_channels": [8, 8, 16],
    "layers_per_block": 2,
    "norm_num_groups": 8,
}
# (class, configuration) by name.
CASES = {
    "vq_attention": ("VQModel", {**LDM, "num_vq_embeddings": 64}),
    "vq_plain": ("VQModel", {**PLAIN, "num_vq_embeddings": 100, "vq_embed_dim": 6}),
    "vq_gray": (
        "VQModel",
        {
            "in_channels": 1,
            "out_channels": 1,
            "block_out_channels": [16],
            "norm_num_groups": 2,
            "mid_block_add_attention": False,
            "latent_channels": 2,
        },
    ),
    "kl_attention": ("AutoencoderKL", LDM),
    "kl_plain": ("AutoencoderKL", {**PLAIN, "scaling_factor": 0.13025}),
    "kl_without_quant_conv": (
        "AutoencoderKL",
        {
            **LDM,
            "latent_channels": 16,
            "use_quant_conv": False,
            "use_post_quant_conv": False,
            "shift_factor": 0.1159,
            "scaling_factor": 0.3611,
        },
    ),
    "tiny_relu": (
        "AutoencoderTiny",
        {**TINY, "num_encoder_blocks": (1, 2), "num_decoder_blocks": (2, 1)},
    ),
    "tiny_gelu": (
        "AutoencoderTiny",
        {**TINY, "num_encoder_blocks": (1, 1), "num_decoder_blocks": (3, 1), "act_fn": "gelu"},
    ),
    "tiny_three_resolutions": (
        "AutoencoderTiny",
        {
            "encoder_block_out_channels": (8, 8, 8),
            "decoder_block_out_channels": (8, 8, 8),
            "num_encoder_blocks": (1, 1, 1),
            "num_decoder_blocks": (1, 1, 1),
            "latent_channels": 16,
        },
    ),
}
