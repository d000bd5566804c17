"""Stage 1 in PyTorch, for a machine whose accelerator TensorFlow cannot use: it needs PyTorch, and no TensorFlow.

The backbones are the released code's under its names, recipe and augmentation those of `sib_tf.pretraining`;
`train.import_checkpoint` makes of the result what everything else takes.
"""
