"""Encoding of data sets to codes, as Parquet files that priors and other models are trained on."""

from keras_vq.encoding.code_dataset import CodeDataset
from keras_vq.encoding.engine import encode_dataset

__all__ = ["CodeDataset", "encode_dataset"]
