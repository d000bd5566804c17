"""The page that lies beside an exported model: what it is, how good, for what, and how it is called."""

_TEXT = """# {title}

A few-shot classifier that learns new classes in one forward pass, without labels of its own: it is given one or more
labelled pictures of each class and a heap of unlabelled ones (Hu et al., *Empirical Bayes Transductive Meta-Learning
with Synthetic Gradients*, ICLR 2020).

| | |
|---|---|
| trained on | {trained_on} |
| pictures | RGB, {image_size} x {image_size} pixels, 0 to 255; normalised inside the file |
| backbone | {backbone}, features of length {feature_dim}; weights `{fingerprint}` |
| head | {gradient_network} synthetic gradient network, K = {num_steps} steps, eta = {inner_learning_rate:g} |
| classes | {way} |
| licence | Apache-2.0 for the software; the weights carry the terms of the data they were trained on |

## Accuracy

{accuracy}

## Limits

- Transductive: a picture's class depends on the unlabelled pictures that come with it. One alone gains little.
- Every picture is given to one of the classes named: there is no "none of these".
- {calibration}
- Measured on the data named above; pictures of another kind, or of another resolution, may do much worse.

## Signatures

All rows have an *episodes* axis in front (`embed`: pictures), so that a server can put several tenants into one batch:
pad rows, and mark real ones with True in the masks. Labels are 0 .. way - 1 within an episode.

{signatures}

A server that batches requests itself joins only those of equal shapes: agree on numbers of rows and pad to them. Leave
its `pad_variable_length_inputs` off: it fills masks with their first value, so that padding would count.

Bad input (labels out of range, an episode without labelled pictures, shapes that do not fit together, features that are
not finite) is an INVALID_ARGUMENT error that says what is wrong; it fails the whole batch.
"""

_SIGNATURES = """| signature | input | output |
|---|---|---|
| `serving_default` | `support_images` uint8 [episodes, rows, {s}, {s}, 3], `support_labels` int32 [episodes, rows], \
`support_mask` bool [episodes, rows], `query_images` uint8 [episodes, queries, {s}, {s}, 3], `query_mask` bool \
[episodes, queries] | `probabilities` [episodes, queries, way], `predicted_class` int32 [episodes, queries] \
(-1: masked), `confidence` [episodes, queries] |
| `embed` | `images` uint8 [pictures, {s}, {s}, 3] | `features` [pictures, {d}] |
| `adapt` | `support` [episodes, rows, {d}], `support_labels`, `support_mask`, `query` [episodes, queries, {d}], \
`query_mask` | `weights` [episodes, way, {d}] after K steps, `weights_by_step` [episodes, K + 1, way, {d}] |
| `classify` | `query` [episodes, queries, {d}], `weights` [episodes, way, {d}] | `logits`, `probabilities` \
[episodes, queries, way], `predicted_class`, `confidence` |"""


_CALIBRATED = """Probabilities are calibrated on validation classes of the data named above, by a temperature for each
  episode that `adapt` works out and carries to `classify` as the length of the weights, 1 / T."""


def text(description: dict, metrics: list[dict]) -> str:
    """Returns the card as Markdown.

    Args:
        description: as `trained_run.Run.description` gives it.
        metrics: contents of `metrics.json` files.
    """
    way = description["way"]
    measured = "\n".join(f"- {values['summary']}" for values in metrics)
    return _TEXT.format(
        title=f"SIB on {description['trained_on'] or 'an imported backbone'}",
        **{name: description[name] for name in ("image_size", "feature_dim", "num_steps", "inner_learning_rate")},
        gradient_network=description["gradient_network"],
        trained_on=description["trained_on"] or "not recorded (imported weights)",
        backbone=f"{description['backbone']['name']}, width {description['backbone']['width']}",
        fingerprint=description["backbone"]["weights"][:16],
        way=f"exactly {way}" if way else "any number",
        accuracy=measured or "Not measured: export with `--metrics=metrics.json` of `train.evaluate`.",
        calibration=_CALIBRATED if description["calibrated"] else "Probabilities are not calibrated.",
        signatures=_SIGNATURES.format(s=description["image_size"], d=description["feature_dim"]),
    )
