"""Backbones: plain Keras models from pictures (RGB, 0-255) to feature vectors, all loaded by one `load`."""

from sib_tf.backbones.scratch import FILE, build, feature_dim, in_float32, load

__all__ = ["FILE", "build", "feature_dim", "in_float32", "load"]
