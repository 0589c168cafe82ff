"""What features know of labels: linear probes, neighbours, clusters, by scikit-learn."""

import numpy as np
from sklearn.cluster import MiniBatchKMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import normalized_mutual_info_score
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

NEIGHBOURS = 10


def linear_probe(
    train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray
) -> float:
    """Test accuracy, in %, of a logistic regression on standardised features."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200, tol=1e-3))
    # Constant features (the borders of digits) have no deviation to divide by: that is fine.
    probe.fit(train.astype("float32"), train_labels)
    return 100 * float(probe.score(test.astype("float32"), test_labels))


def retrieval(
    train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray
) -> float:
    """Share, in %, of the ten nearest training images that have a test image's label."""
    index = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(train)
    nearest = index.kneighbors(test, return_distance=False)
    return 100 * float(np.mean(train_labels[nearest] == test_labels[:, None]))


def cluster_agreement(features: np.ndarray, labels: np.ndarray, seed: int) -> float:
    """Normalised mutual information of labels and as many clusters of k-means, in [0, 1]."""
    count = len(np.unique(labels))
    clusters = MiniBatchKMeans(count, n_init=5, random_state=seed).fit_predict(features)
    return float(normalized_mutual_info_score(labels, clusters))
