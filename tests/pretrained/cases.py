"""Small configurations of each family of diffusers and transformers."""

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

ENCODEC = {"num_filters": 4, "hidden_size": 16, "codebook_size": 64}
DAC = {
    "encoder_hidden_size": 4,
    "decoder_hidden_size": 32,
    "n_codebooks": 3,
    "codebook_size": 64,
    "codebook_dim": 4,
}
# (class, configuration, number of samples, which the strides do not divide) by name.
SOUND_CASES = {
    "encodec_24khz": (
        "Encodec",
        {**ENCODEC, "upsampling_ratios": [5, 4], "target_bandwidths": [7.2, 28.8]},
        797,
    ),
    "encodec_48khz": (
        "Encodec",
        {
            **ENCODEC,
            "audio_channels": 2,
            "sampling_rate": 48_000,
            "use_causal_conv": False,
            "norm_type": "time_group_norm",
            "normalize": True,
            "chunk_length_s": 1.0,
            "overlap": 0.01,
            "upsampling_ratios": [5, 4],
            "target_bandwidths": [14.4, 43.2],
        },
        995,
    ),
    "encodec_16khz": (
        "Encodec",
        {
            **ENCODEC,
            "sampling_rate": 16_000,
            "pad_mode": "constant",
            "num_residual_layers": 2,
            "compress": 1,
            "num_lstm_layers": 1,
            "use_conv_shortcut": False,
            "upsampling_ratios": [4, 3],
            "target_bandwidths": [9.0, 17.0],
        },
        601,
    ),
    "dac_16khz": ("Dac", {**DAC, "downsampling_ratios": [2, 4]}, 397),
    "dac_24khz": (
        "Dac",
        {**DAC, "downsampling_ratios": [2, 5], "codebook_dim": 8, "sampling_rate": 24_000},
        499,
    ),
    "dac_44khz": (
        "Dac",
        {**DAC, "downsampling_ratios": [8], "n_codebooks": 9, "sampling_rate": 44_100},
        401,
    ),
}
