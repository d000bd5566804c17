"""Commands that share a process are those that have one each, and stop where one fails."""

import sys
from types import SimpleNamespace

import pytest
from absl import flags

from sib_tf.commands import cli, sequence
from sib_tf.errors import InputError


@pytest.fixture
def said(monkeypatch) -> list[str]:
    """What the commands `one`, `two` and `failing` were told, in order."""
    told = []
    for name in ("one", "two", "failing"):
        values = flags.FlagValues()
        flags.DEFINE_string("word", "nothing", "What to say.", flag_values=values)

        def main(name=name, values=values):
            told.append(f"{name} {values.word}")
            if name == "failing":
                raise InputError("word must be another one.")

        monkeypatch.setitem(sys.modules, name, SimpleNamespace(main=main, FLAGS=values, __doc__=name))
    return told


def test_commands_run_in_order_each_with_its_own_flags(said, capsys):
    assert sequence.main(["one", "--word=a b", "--", "two", "--", "one"]) == 0
    assert said == ["one a b", "two nothing", "one nothing"]
    assert capsys.readouterr().out == "python -m one '--word=a b'\npython -m two\npython -m one\n"


def test_the_first_that_fails_is_the_last(said, capsys):
    assert sequence.main(["one", "--", "failing", "--", "two"]) == cli.USAGE_ERROR
    assert said == ["one nothing", "failing nothing"]
    assert capsys.readouterr().err == "error: word must be another one.\n"


def test_nothing_to_run_is_nothing():
    assert sequence.main([]) == 0
