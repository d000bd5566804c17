"""The signatures of a SavedModel: batches of several tenants' episodes in, answers out, clear errors for the rest.

Checks are ops of the graph, so that a server that knows nothing of this project gives the same errors.
"""

import base64
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from export import warm_up
from export.serving_checks import EpisodeChecks, check, check_axes, check_finite, check_weights, zero_masked
from sib_tf.config import EpisodeSpec, backbone_name
from sib_tf.datasets import Split
from sib_tf.episodes import EpisodeSampler
from sib_tf.pictures.pixels import fit_stored
from sib_tf.pictures.plain_files import as_png
from sib_tf.prediction import trained_run
from sib_tf.prediction.models import CONFIG
from sib_tf.prediction.signatures import Signatures
from sib_tf.storage import atomic, digests

NO_CLASS = -1


def write(folder: Path, run: trained_run.Run, head: bytes | None = None) -> None:
    """Writes a SavedModel into a new folder, and what it says about itself.

    Args:
        folder: of the version.
        run: the trained model.
        head: its head alone, the bytes of a .tflite file, for clients that save what was learned; None: they cannot.
    """
    from export.encoded_signatures import EncodedSignatures

    serving = ServingSignatures(run.signatures())
    archive = serving.archive()
    encoded = EncodedSignatures(serving, head, saved_name(run.origin))
    encoded.add_to(archive)
    archive.write_out(folder, verbose=False)
    warm_up.write(folder, {**serving.inputs, **encoded.inputs}, serving.way)
    description = {**run.description(), "max_support": None, "max_query": None, "precision": "float32"}
    atomic.write_json(folder / CONFIG, {**description, "files": digests.of_folder(folder)})


def saved_name(origin: dict) -> str:
    """Returns what a saved classifier calls the backbone: the name alone where it is that of published weights."""
    published = backbone_name(origin["source"] or "", origin["averaged_views"]) == origin["name"]
    return origin["name"] if published else f"{origin['name']}-{origin['weights'][:12]}"


def example_request(split: Split, spec: EpisodeSpec, size: int, larger: str) -> dict:
    """Returns a body for TF Serving's REST predict call: one 1-shot episode of real pictures, two queries a class."""
    spec = EpisodeSpec(way=spec.way, shot=1, query=min(2, spec.query[1]))
    rows = EpisodeSampler(split.labels, spec, seed=0).sample(1)
    support, query = (split.images[rows] for rows in (rows.support, rows.query))
    inputs = {
        "support_images": fit_stored(support[0], size, larger)[None],
        "support_labels": rows.support_labels,
        "support_mask": rows.support_mask,
        "query_images": fit_stored(query[0], size, larger)[None],
        "query_mask": rows.query_mask,
    }
    return {"signature_name": "serving_default", "inputs": {k: np.asarray(v).tolist() for k, v in inputs.items()}}


def encoded_request(request: dict) -> dict:
    """Returns an `example_request` with the pictures as files, for `serving_encoded`."""
    inputs = {name: np.array(value) for name, value in request["inputs"].items()}
    packed = {name: value.astype(int).tolist() for name, value in inputs.items() if not name.endswith("_images")}
    for side in ("support", "query"):
        pictures = inputs[f"{side}_images"].astype(np.uint8)[0]
        files = [{"b64": base64.b64encode(as_png(picture)).decode()} for picture in pictures]
        packed[f"{side}_image_bytes"] = [files]
    return {"signature_name": "serving_encoded", "inputs": packed}


class ServingSignatures:
    """`embed`, `adapt`, `classify` and the whole way from pictures to classes, `serving_default`, with checks.

    Args:
        signatures: what to compute.
    """

    def __init__(self, signatures: Signatures):
        self.signatures = signatures
        self.size = signatures.backbone.input_shape[1]
        self.config = signatures.sib.config
        self.way, self.checks = self.config.fixed_way, EpisodeChecks(self.config)
        pictures, features = (self.size, self.size, 3), (None, None, self.config.feature_dim)
        rows = (None, None)
        labels = [spec("support_labels", tf.int32, *rows), spec("support_mask", tf.bool, *rows)]
        query, query_mask = spec("query", tf.float32, *features), spec("query_mask", tf.bool, *rows)
        self.inputs = {
            "serving_default": [
                spec("support_images", tf.uint8, *rows, *pictures),
                *labels,
                spec("query_images", tf.uint8, *rows, *pictures),
                query_mask,
            ],
            "embed": [spec("images", tf.uint8, None, *pictures)],
            "adapt": [spec("support", tf.float32, *features), *labels, query, query_mask],
            "classify": [query, spec("weights", tf.float32, None, self.way, signatures.weights_dim)],
        }

        self._share(pictures)

    def _share(self, pictures: tuple) -> None:
        """Makes functions of what several signatures compute: each is traced once, and lies in the file once."""
        of_adapt = [tf.TensorSpec(each.shape, each.dtype) for each in self.inputs["adapt"]]
        of_classify = [tf.TensorSpec(each.shape, each.dtype) for each in self.inputs["classify"]]
        of_embed = [tf.TensorSpec((None, *pictures), tf.uint8)]
        self.embedded = tf.function(self.signatures.embed, input_signature=of_embed, autograph=False)
        self.adapted = tf.function(self._adapted, input_signature=of_adapt, autograph=False)
        self.classified = tf.function(self.signatures.classify, input_signature=of_classify, autograph=False)

    def _adapted(self, support, labels, support_mask, query, query_mask) -> dict:
        """`Signatures.adapt` of what the checks let through."""
        way = tf.reduce_max(labels) + 1 if self.way is None else self.way
        return self.signatures.adapt(
            zero_masked(support, support_mask), labels, zero_masked(query, query_mask), support_mask, query_mask, way
        )

    def archive(self) -> keras.export.ExportArchive:
        """Returns the archive, ready to be written, with one endpoint for each signature."""
        archive = keras.export.ExportArchive()
        archive.track(self.signatures.backbone)
        archive.track(self.signatures.sib)
        for name, inputs in self.inputs.items():
            archive.add_endpoint(name, getattr(self, name), inputs)
        return archive

    def serving_default(self, support_images, support_labels, support_mask, query_images, query_mask) -> dict:
        """Pictures `[episodes, rows, size, size, 3]` uint8, labels int32, masks bool -> the queries' classes.

        Returns:
            probabilities: `[episodes, queries, way]` float32; 0 for masked queries.
            predicted_class: `[episodes, queries]` int32; -1 for masked queries.
            confidence: `[episodes, queries]` float32, the probability of that class; 0 for masked queries.
            uncertainty: with samples of a posterior, `[episodes, queries]` float32 nats, as `Signatures.classify`.
        """
        support_images, labels, support_mask, query_images, query_mask = self.checks.episode(
            self.inputs["serving_default"], support_images, support_labels, support_mask, query_images, query_mask
        )
        support, query = self._embed_rows([support_images, query_images])
        weights = self.adapted(support, labels, support_mask, query, query_mask)["weights"]
        return self.answers(query, weights, query_mask)

    def embed(self, images) -> dict:
        """Pictures `[pictures, size, size, 3]` uint8 -> features `[pictures, D]`; several tenants' in one batch."""
        (images,) = self.checks.shaped(self.inputs["embed"], images)
        with tf.control_dependencies([check(tf.shape(images)[0] > 0, "images must hold at least one picture")]):
            return {"features": self.embedded(tf.identity(images))}

    def adapt(self, support, support_labels, support_mask, query, query_mask) -> dict:
        """Features `[episodes, rows, D]` -> weights `[episodes, way, D]` and weights_by_step, as `Signatures.adapt`."""
        inputs = support, support_labels, support_mask, query, query_mask
        return self.adapted(*self.checks.episode(self.inputs["adapt"], *inputs))

    def classify(self, query, weights) -> dict:
        """Features `[episodes, queries, D]` under weights `[episodes, way, D]`.

        Returns:
            logits, probabilities: `[episodes, queries, way]` float32.
            predicted_class, confidence: `[episodes, queries]`, as in `serving_default`.
        """
        query, weights = self.checks.shaped(self.inputs["classify"], query, weights)
        checks = [
            check_axes("query", query, "weights", weights, 1),
            check_finite("query", query),
            *check_weights(weights),
        ]
        with tf.control_dependencies(checks):
            result = self.classified(tf.identity(query), tf.identity(weights))
        probabilities = result["probabilities"]
        return {
            **result,
            "predicted_class": tf.argmax(probabilities, -1, tf.int32),
            "confidence": tf.reduce_max(probabilities, axis=-1),
        }

    def answers(self, query, weights, query_mask) -> dict:
        """What `serving_default` returns, of features `[episodes, queries, D]` under weights `[episodes, way, D]`."""
        result = self.classified(query, weights)
        counts = tf.cast(query_mask, tf.float32)
        probabilities = result["probabilities"] * counts[..., None]
        return {
            **({"uncertainty": result["uncertainty"] * counts} if self.signatures.samples else {}),
            "probabilities": probabilities,
            "predicted_class": tf.where(query_mask, tf.argmax(probabilities, -1, tf.int32), NO_CLASS),
            "confidence": tf.reduce_max(probabilities, axis=-1),
        }

    def _embed_rows(self, images: list) -> list:
        """Embeds all rows in one batch: a convolution of no pictures, where there are no queries, is an error."""
        pictures = [tf.reshape(each, (-1, self.size, self.size, 3)) for each in images]
        features = tf.split(self.embedded(tf.concat(pictures, axis=0)), [tf.shape(x)[0] for x in pictures])
        shapes = [tf.concat([tf.shape(each)[:2], [self.config.feature_dim]], axis=0) for each in images]
        return [tf.reshape(part, shape) for part, shape in zip(features, shapes, strict=True)]


def spec(name: str, dtype: tf.DType, *shape: int | None) -> tf.TensorSpec:
    """Of an input of a signature; None: any size."""
    return tf.TensorSpec(shape, dtype, name)
