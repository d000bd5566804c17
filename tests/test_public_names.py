"""What users import from `sib_tf` itself is there, and costs nothing before it is asked for."""

import subprocess
import sys

import pytest
from conftest import CHECKOUT

import sib_tf


@pytest.mark.parametrize("name", sib_tf.__all__)
def test_a_public_name_is_there(name):
    assert getattr(sib_tf, name) is not None
    assert name in dir(sib_tf)


def test_a_name_that_is_none_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"module 'sib_tf' has no attribute 'nothing'"):
        sib_tf.nothing  # noqa: B018


def test_the_import_loads_nothing_else():
    code = "import sys, sib_tf; print([m for m in ('numpy', 'keras', 'tensorflow', 'absl') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
