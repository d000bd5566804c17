"""Transductive few-shot learning with synthetic gradients (SIB, Hu et al., ICLR 2020) in Keras and TensorFlow."""

__version__ = "0.1.0"
