"""Test cases of quantizers, one for each kind."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras

import keras_vq
from keras_vq import (
    DeadCodeRestart,
    EMACodebook,
    FiniteScalarQuantizer,
    GradientCodebook,
    GumbelSoftmaxQuantizer,
    ImplicitNeuralQuantizer,
    IndexBackpropagationQuantizer,
    LatentQuantizer,
    LookupFreeQuantizer,
    MultiScaleQuantizer,
    OnlineClustering,
    ProductQuantizer,
    ProjectedCodebook,
    ProjectedQuantizer,
    RandomProjectionQuantizer,
    ResidualQuantizer,
    SGDCodebook,
    VectorQuantizer,
)
from keras_vq.estimators import Directional, Synchronized
from keras_vq.losses import CrossEntropyCommitmentLoss, EntropyLoss


class QuantizerCase(NamedTuple):
    """Quantizer for vectors of dimension 4, on a 5 x 5 grid if needed, with its properties."""

    id: str
    build: Callable[[], Any]
    # Whether training calls update weights without an optimizer.
    learns_by_statistics: bool = True
    # Whether there are trainable weights.
    learns_by_gradient: bool = False
    # Whether the gradient passes to the inputs unchanged.
    is_straight_through: bool = True
    # Whether vectors are quantized to the nearest code vector in Euclidean distance.
    is_nearest: bool = False
    # Whether calls in training and inference return the same outputs.
    is_deterministic: bool = True
    # Whether any gradient passes to the inputs.
    passes_gradient: bool = True
    # Dimension of the quantized vectors.
    output_dim: int = 4
    # Whether the loss is 0 when every vector is masked.
    has_loss_of_vectors: bool = True
    # Whether `decode` works before `build`.
    decodes_unbuilt: bool = False
    # Whether it stands for others of its kind in checks that take seconds to compile.
    is_typical: bool = False


def quantizer(size: int = 16, **options: Any) -> VectorQuantizer:
    return VectorQuantizer(size, **options)


def shared_levels() -> ResidualQuantizer:
    return ResidualQuantizer([quantizer()] * 3)


def with_codebook(codebook: Any, **options: Any) -> Callable[[], VectorQuantizer]:
    return lambda: VectorQuantizer(codebook=codebook(), **options)


QUANTIZER_CASES = [
    QuantizerCase("ema", with_codebook(lambda: EMACodebook(16)), is_nearest=True),
    QuantizerCase(
        "ema_bias_correction",
        with_codebook(lambda: EMACodebook(16, decay=0.9, epsilon=1e-4, bias_correction=True)),
        is_nearest=True,
    ),
    QuantizerCase("default_with_restart", quantizer, is_nearest=True, is_typical=True),
    QuantizerCase(
        "ema_online_clustering",
        with_codebook(lambda: EMACodebook(16, restart=OnlineClustering())),
        is_nearest=True,
    ),
    QuantizerCase(
        "gradient",
        with_codebook(lambda: GradientCodebook(16), commitment_weight=0.5),
        learns_by_gradient=True,
        is_nearest=True,
    ),
    QuantizerCase(
        "gradient_with_restart",
        with_codebook(lambda: GradientCodebook(16, restart=DeadCodeRestart(sampling="uniform"))),
        learns_by_gradient=True,
        is_nearest=True,
    ),
    QuantizerCase(
        "gradient_orthogonal",
        with_codebook(
            lambda: GradientCodebook(
                16, regularizer=keras_vq.regularizers.Orthogonality(), codebook_loss_weight=0.5
            )
        ),
        learns_by_gradient=True,
        is_nearest=True,
        has_loss_of_vectors=False,  # the regularizer does not depend on vectors
    ),
    QuantizerCase(
        "step",
        with_codebook(lambda: SGDCodebook(16, learning_rate=10.0)),
        is_nearest=True,
        is_deterministic=False,  # a batch is quantized after the codebook update
    ),
    QuantizerCase(
        "projected_codebook",
        with_codebook(lambda: ProjectedCodebook(16)),
        learns_by_gradient=True,
        is_nearest=True,
    ),
    QuantizerCase(
        "rotation_trick", lambda: quantizer(estimator="rotation_trick"), is_straight_through=False
    ),
    QuantizerCase(
        "directional",
        lambda: VectorQuantizer(
            codebook=GradientCodebook(16, codebook_loss_weight=0.0),
            commitment_weight=0.0,
            estimator=Directional(seed=1),
        ),
        learns_by_gradient=True,
        is_straight_through=False,
        is_deterministic=False,
    ),
    QuantizerCase(
        "synchronized",
        with_codebook(lambda: GradientCodebook(16), estimator=Synchronized(0.5)),
        learns_by_gradient=True,
    ),
    QuantizerCase("cosine", lambda: quantizer(metric="cosine"), is_straight_through=False),
    QuantizerCase("angle", lambda: quantizer(metric="angle")),
    QuantizerCase(
        "drawn", lambda: quantizer(temperature=0.5, seed=1), is_nearest=True, is_deterministic=False
    ),
    QuantizerCase(
        "cross_entropy_and_entropy",
        lambda: quantizer(
            commitment_weight=0.1,
            commitment_loss=CrossEntropyCommitmentLoss(),
            entropy_loss=EntropyLoss(temperature=1.0),
        ),
    ),
    QuantizerCase("one_code", with_codebook(lambda: EMACodebook(1)), is_nearest=True),
    QuantizerCase(
        "residual",
        lambda: ResidualQuantizer([quantizer(), quantizer(8), quantizer(4)]),
        is_typical=True,
    ),
    QuantizerCase("residual_shared", shared_levels),
    QuantizerCase(
        "residual_dropout",
        lambda: ResidualQuantizer([quantizer(), quantizer()], dropout=0.5, seed=1),
        is_deterministic=False,
    ),
    QuantizerCase(
        "residual_beam", lambda: ResidualQuantizer([quantizer(), quantizer()], beam_size=3)
    ),
    QuantizerCase(
        "residual_conditioned",
        lambda: ResidualQuantizer([quantizer(), ImplicitNeuralQuantizer(8), quantizer()]),
        learns_by_gradient=True,
    ),
    QuantizerCase(
        "residual_with_one_estimator",
        lambda: ResidualQuantizer([quantizer(), quantizer()], estimator="rotation_trick"),
        is_straight_through=False,
    ),
    QuantizerCase(
        "conditioned",
        lambda: ImplicitNeuralQuantizer(8),
        learns_by_statistics=False,
        learns_by_gradient=True,
        is_typical=True,
    ),
    QuantizerCase(
        "product", lambda: ProductQuantizer([quantizer(), quantizer(8)]), is_typical=True
    ),
    QuantizerCase("heads", lambda: ProductQuantizer([quantizer()] * 2)),
    QuantizerCase(
        "grouped_residual",
        lambda: ProductQuantizer([ResidualQuantizer([quantizer(), quantizer(4)])] * 2),
    ),
    QuantizerCase(
        "projected",
        lambda: ProjectedQuantizer(quantizer(metric="cosine"), 2),
        learns_by_gradient=True,
        is_straight_through=False,
        is_typical=True,
    ),
    QuantizerCase(
        "residual_projected",
        lambda: ResidualQuantizer(
            [ProjectedQuantizer(quantizer(), 2), ProjectedQuantizer(quantizer(), 2)]
        ),
        learns_by_gradient=True,
        is_straight_through=False,
    ),
    QuantizerCase(
        "multi_scale",
        lambda: MultiScaleQuantizer(quantizer(), scales=[1, 2, 5], num_phi=2),
        learns_by_gradient=True,
    ),
    QuantizerCase(
        "finite_scalar",
        lambda: FiniteScalarQuantizer([8, 5, 5, 5]),
        learns_by_statistics=False,
        is_straight_through=False,
        decodes_unbuilt=True,
        is_typical=True,
    ),
    QuantizerCase(
        "finite_scalar_symmetric",
        lambda: FiniteScalarQuantizer([2, 3, 4, 5], "symmetric", noise=0.5, seed=1),
        learns_by_statistics=False,
        is_straight_through=False,
        is_deterministic=False,
        decodes_unbuilt=True,
    ),
    QuantizerCase(
        "latent",
        lambda: LatentQuantizer([2, 3, 4, 5]),
        learns_by_statistics=False,
        learns_by_gradient=True,
        is_typical=True,
    ),
    QuantizerCase("lookup_free", LookupFreeQuantizer, learns_by_statistics=False, is_typical=True),
    QuantizerCase(
        "binary_spherical",
        lambda: LookupFreeQuantizer(spherical=True, bits_per_group=3),
        learns_by_statistics=False,
        is_straight_through=False,
    ),
    QuantizerCase(
        "gumbel_softmax",
        lambda: GumbelSoftmaxQuantizer(16, seed=1),
        learns_by_statistics=False,
        learns_by_gradient=True,
        is_straight_through=False,
        is_deterministic=False,
        is_typical=True,
    ),
    QuantizerCase(
        "gumbel_softmax_annealed",
        lambda: GumbelSoftmaxQuantizer(
            16,
            temperature=keras.optimizers.schedules.CosineDecay(1.0, 10, 0.1),
            hard=True,
            seed=1,
        ),
        learns_by_gradient=True,
        is_straight_through=False,
        is_deterministic=False,
    ),
    QuantizerCase(
        "index_backpropagation",
        lambda: IndexBackpropagationQuantizer(16),
        learns_by_statistics=False,
        learns_by_gradient=True,
        is_straight_through=False,
        is_typical=True,
    ),
    QuantizerCase(
        "random_projection",
        lambda: RandomProjectionQuantizer(16, embedding_dim=3, num_codebooks=2, seed=1),
        learns_by_statistics=False,
        is_straight_through=False,
        passes_gradient=False,
        output_dim=6,
        is_typical=True,
    ),
    QuantizerCase(
        "residual_finite_scalar",
        lambda: ResidualQuantizer(
            [FiniteScalarQuantizer([8, 5, 5, 5]), LookupFreeQuantizer(scale=0.1)]
        ),
        learns_by_statistics=False,
        is_straight_through=False,
    ),
]
