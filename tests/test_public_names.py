"""What users import from `sib_tf` itself is there, and costs nothing before it is asked for."""

import subprocess
import sys

import pytest
from conftest import CHECKOUT

import sib_tf


def test_public_names_are_there_and_others_are_attribute_errors():
    assert set(sib_tf.__all__) <= set(dir(sib_tf))
    assert all(getattr(sib_tf, name) is not None for name in sib_tf.__all__)
    with pytest.raises(AttributeError, match=r"module 'sib_tf' has no attribute 'nothing'"):
        sib_tf.nothing  # noqa: B018


def test_the_import_loads_nothing_else():
    code = "import sys, sib_tf; print([m for m in ('numpy', 'keras', 'tensorflow', 'absl') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
