"""Image compression with a VQ-VAE: codes are bit-packed, or range-coded with a prior."""

from keras_vq.codec.bit_packing import pack_codes, unpack_codes
from keras_vq.codec.container import CorruptFileError, Header, read_header
from keras_vq.codec.image_codec import DEFAULT_MAX_PIXELS, ImageCodec

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "CorruptFileError",
    "Header",
    "ImageCodec",
    "pack_codes",
    "read_header",
    "unpack_codes",
]
