"""Encoded pictures to pixels in the graph: TensorFlow's decoders, and the resize that Pillow does everywhere else."""

import tensorflow as tf

# Pictures that are decoded side by side.
_AT_ONCE = 8
# Broken pictures that an error names.
_MOST_NAMED = 20
# WebP: where the server's TensorFlow decodes it (2.21 does).
FORMATS = "JPEG, PNG, BMP, GIF or WebP"


def decoded(name: str, contents, places, size: int) -> tf.Tensor:
    """Decodes pictures and fits each to a square, as `sib_tf.pictures.pixels.read_picture` does but for metadata.

    TensorFlow's decoders do not turn by EXIF and convert no profiles; they drop transparency and take the upper half of
    16 bits. The rest is the same to a grey level.

    Args:
        name: of the input, for errors.
        contents: `[pictures]` string, files of `FORMATS`.
        places: `[pictures, axes]` int64, where each lies in the input, for errors.
        size: side in pixels of the square.

    Returns:
        `[pictures, size, size, 3]` uint8; or, when it runs, an INVALID_ARGUMENT error with the places of the pictures
        that cannot be read.
    """
    count = tf.shape(contents, tf.int64)[0]
    pictures = tf.data.Dataset.from_tensor_slices((tf.range(count), contents))
    pictures = pictures.map(lambda number, content: (number, _fitted(_pixels(content), size)), _AT_ONCE, True)
    # An op that fails takes the whole request with it and does not say which picture it was: what is missing here does.
    pictures = pictures.ignore_errors()
    # Never empty: one more at the end.
    last = tf.data.Dataset.from_tensors((count, tf.zeros((size, size, 3), tf.uint8)))
    numbers, found = pictures.concatenate(last).batch(count + 1).get_single_element()
    numbers = numbers[:-1]
    there = tf.scatter_nd(numbers[:, None], tf.ones_like(numbers), [count]) > 0
    broken = tf.boolean_mask(places, ~there)
    message = (
        f"{name} must be whole {FORMATS} files that TensorFlow decodes to RGB; those at these places are not, counted "
        "from 0:"
    )
    with tf.control_dependencies([_named(tf.reduce_all(there), message, broken)]):
        return found[:-1]


def _named(holds, message: str, places):
    return tf.debugging.Assert(holds, [message, places], summarize=_MOST_NAMED)


def _pixels(content) -> tf.Tensor:
    """One file -> `[height, width, 3]` uint8."""
    # By default TensorFlow's JPEG decoder rounds otherwise than Pillow's, by up to three grey levels.
    pixels = tf.cond(
        tf.io.is_jpeg(content),
        lambda: tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_image(content, channels=3, expand_animations=False),
    )
    return tf.ensure_shape(pixels, (None, None, 3))


def _fitted(pixels, size: int) -> tf.Tensor:
    """`[height, width, 3]` -> `[size, size, 3]`, uint8: the middle square, bilinear, antialiased when shrinking.

    Like Pillow: first along rows, then along columns, each rounded to 8 bits.
    """
    height, width = tf.shape(pixels)[0], tf.shape(pixels)[1]
    side = tf.cast(tf.minimum(height, width), tf.float32)
    left, top = ((tf.cast(length, tf.float32) - side) / 2 for length in (width, height))
    scale = tf.cast(size, tf.float32) / side
    rows = _scaled(pixels, [height, size], [1.0, scale], [0.0, -left * scale])
    return tf.ensure_shape(_scaled(rows, [size, size], [scale, 1.0], [-top * scale, 0.0]), (size, size, 3))


def _scaled(pixels, size, scale, translation) -> tf.Tensor:
    scaled = tf.raw_ops.ScaleAndTranslate(
        images=pixels[None], size=size, scale=scale, translation=translation, kernel_type="triangle", antialias=True
    )
    return tf.cast(tf.floor(scaled[0] + 0.5), tf.uint8)
