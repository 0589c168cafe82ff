import numpy as np
from keras import ops

from keras_vq.layers import CodeEmbedding, GridPositions


def test_codes_of_a_position_are_summed_over_levels():
    layer = CodeEmbedding((3, 2), dim=4)
    codes = np.array([[2, 1], [0, 0]])
    vectors = ops.convert_to_numpy(layer(codes))
    table = ops.convert_to_numpy(layer.table.embeddings)
    np.testing.assert_allclose(vectors, table[codes[:, 0]] + table[3 + codes[:, 1]], atol=1e-6)
    # Only the first stages.
    first = ops.convert_to_numpy(layer(codes[:, :1]))
    np.testing.assert_array_equal(first, table[codes[:, 0]])
    assert CodeEmbedding.from_config(layer.get_config()).get_config() == layer.get_config()


def test_a_place_is_the_sum_of_its_coordinates(rng):
    layer = GridPositions((2, 3, 2), dim=4)
    layer.build((None, 12, 4))
    for axis in layer.axes:
        axis.assign(rng.normal(size=axis.shape))
    first, second, third = (ops.convert_to_numpy(axis) for axis in layer.axes)
    added = ops.convert_to_numpy(layer(np.zeros((1, 12, 4), "float32")))[0]
    for place, (i, j, k) in enumerate(np.ndindex(2, 3, 2)):
        np.testing.assert_allclose(added[place], first[i] + second[j] + third[k], atol=1e-6)
    assert GridPositions.from_config(layer.get_config()).get_config() == layer.get_config()
