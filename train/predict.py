"""Gives every picture of a folder a class: `sib-tf predict`, from a checkout.

python -m train.predict --model=model.tflite --support=PICTURES/labelled --query=PICTURES/new --output=predictions.csv
"""

import sys

from sib_tf.commands import cli, predict
from sib_tf.commands.predict import FLAGS, main

if __name__ == "__main__":
    sys.exit(cli.run(main, FLAGS, predict.__doc__))
