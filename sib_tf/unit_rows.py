"""Features of unit length and their products with classes, laid out for speed.

Every step multiplies the same rows twice: along the features (logits) and along the pictures (J^T g), and the gradients
of both do the other. CPUs want the right factor of a product as it lies in memory, so that the rows are kept in both
orders, and each product has a gradient that uses the order it needs.
"""

from typing import NamedTuple

from keras import ops

from sib_tf.layers import norm


class UnitRows(NamedTuple):
    """Features of unit length, twice.

    Attributes:
        rows: `[episodes, n, D]` float32.
        columns: `[episodes, D, n]` float32, the same numbers.
    """

    rows: object
    columns: object

    def repeated(self, times: int) -> "UnitRows":
        """Every episode `times` times, side by side."""
        return UnitRows(*(ops.repeat(field, times, axis=0) for field in self))


def unit_rows(features) -> UnitRows:
    """Divides features `[episodes, n, D]` by their length; zero stays zero."""
    length = norm(features)
    # Not the transpose of the quotient: XLA would do without it, and transpose in every product.
    return UnitRows(features / length, ops.swapaxes(features, 1, 2) / ops.swapaxes(length, 1, 2))


def along_features(classes, units: UnitRows):
    """<classes_c, units_i>: `[episodes, way, D]` -> `[episodes, way, n]`."""
    return _along_features(classes, *units)


def along_rows(values, units: UnitRows):
    """sum_i values_ci * units_i: `[episodes, way, n]` -> `[episodes, way, D]`."""
    return _along_rows(values, *units)


@ops.custom_gradient
def _along_features(classes, rows, columns):
    def gradient(*arguments, upstream=None):
        upstream = arguments[0] if upstream is None else upstream
        return ops.matmul(upstream, rows), ops.matmul(_turned(upstream), classes), ops.zeros_like(columns)

    return ops.matmul(classes, columns), gradient


@ops.custom_gradient
def _along_rows(values, rows, columns):
    def gradient(*arguments, upstream=None):
        upstream = arguments[0] if upstream is None else upstream
        return ops.matmul(upstream, columns), ops.matmul(_turned(values), upstream), ops.zeros_like(columns)

    return ops.matmul(values, rows), gradient


def _turned(matrices):
    return ops.swapaxes(matrices, 1, 2)
