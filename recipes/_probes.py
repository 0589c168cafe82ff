"""Evaluation of features: linear probe, nearest-neighbor retrieval and clustering."""

import numpy as np
from sklearn.cluster import MiniBatchKMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import normalized_mutual_info_score
from sklearn.neighbors import NearestNeighbors

NEIGHBORS = 10
# Inverse regularization strengths (C in scikit-learn).
STRENGTHS = (0.01, 0.1, 1.0)
TUNED_ON = 20_000


def linear_probe(
    train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray
) -> float:
    """Computes the test accuracy of a logistic regression, in percent.

    The regularization strength is chosen on held-out training images. Features are centered and
    divided by a single standard deviation: one per feature would amplify rarely active features.
    """
    mean, deviation = train.mean(axis=0), train.std()
    train, test = (((part - mean) / deviation).astype("float32") for part in (train, test))
    held_out = slice(len(train) - len(train) // 8, None)
    rest = slice(0, held_out.start)
    best = max(
        STRENGTHS,
        key=lambda strength: (
            _probe(strength)
            .fit(train[rest][:TUNED_ON], train_labels[rest][:TUNED_ON])
            .score(train[held_out], train_labels[held_out])
        ),
    )
    return 100 * float(_probe(best).fit(train, train_labels).score(test, test_labels))


def _probe(strength: float) -> LogisticRegression:
    # With the weakest penalty, MNIST's quantized latents need about 500 iterations to converge.
    return LogisticRegression(C=strength, max_iter=1000)


def retrieval(
    train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray
) -> float:
    """Computes the percentage of the ten nearest training images that share the test label."""
    index = NearestNeighbors(n_neighbors=NEIGHBORS).fit(train)
    nearest = index.kneighbors(test, return_distance=False)
    return 100 * float(np.mean(train_labels[nearest] == test_labels[:, None]))


def cluster_agreement(features: np.ndarray, labels: np.ndarray, seed: int) -> float:
    """Computes the normalized mutual information of labels and k-means clusters, in [0, 1]."""
    count = len(np.unique(labels))
    clusters = MiniBatchKMeans(count, n_init=5, random_state=seed).fit_predict(features)
    return float(normalized_mutual_info_score(labels, clusters))
