"""Files made small: they compute what they computed, bit for bit, and say the same of themselves."""

import exported
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from export import conversion, flatbuffer

LIMITS = (5, 8, 30)


@pytest.fixture(scope="module")
def float32():
    return conversion.convert(exported.load_run(exported.run_folder()).signatures(), *LIMITS)


@pytest.fixture(scope="module", params=["float32", "float16", "int8"])
def large(request, float32):
    """A file as the converter and the quantizer leave it, which keeps float16 behind the flatbuffer."""
    return conversion.quantised(float32, request.param, exported.pictures(16, seed=4))


def arguments(runner) -> dict:
    random, inputs = np.random.RandomState(0), {}
    for name, details in runner.get_input_details().items():
        shape, dtype = details["shape"], details["dtype"]
        values = random.randint(5, size=shape) if dtype == np.int32 else random.uniform(0, 255, shape)
        inputs[name] = (values > 50 if "mask" in name else values).astype(dtype)
    return inputs


def test_it_computes_the_same_bits_and_its_signatures_say_the_same(large):
    small = flatbuffer.compact(large)
    assert len(small) < 0.8 * len(large)
    before, after = (Interpreter(model_content=model) for model in (large, small))
    assert after.get_signature_list() == before.get_signature_list()
    for name in before.get_signature_list():
        runner, small_runner = (interpreter.get_signature_runner(name) for interpreter in (before, after))
        for details, others in (
            (runner.get_input_details(), small_runner.get_input_details()),
            (runner.get_output_details(), small_runner.get_output_details()),
        ):
            for key, tensor in details.items():
                for field in ("name", "shape", "shape_signature", "dtype", "quantization"):
                    np.testing.assert_array_equal(others[key][field], tensor[field])
        given = arguments(runner)
        expected, found = runner(**given), small_runner(**given)
        for key, values in expected.items():
            assert np.abs(values).max() > 0
            np.testing.assert_array_equal(found[key], values)


def test_sizes_that_may_change_still_may(float32):
    dynamic = conversion.convert(exported.load_run(exported.run_folder()).signatures(), None)
    embed = Interpreter(model_content=flatbuffer.compact(dynamic)).get_signature_runner("embed")
    assert embed.get_input_details()["images"]["shape_signature"].tolist() == [-1, 32, 32, 3]
    pictures = exported.pictures(3, seed=1).astype(np.float32)
    expected = Interpreter(model_content=dynamic).get_signature_runner("embed")(images=pictures)["features"]
    np.testing.assert_array_equal(embed(images=pictures)["features"], expected)


def test_constants_are_there_once_and_lie_where_the_schema_wants_them(large):
    small = flatbuffer.compact(large)
    root = schema.Model.GetRootAs(small, 0)
    buffers = [root.Buffers(place) for place in range(root.BuffersLength())]
    contents = [buffer.DataAsNumpy().tobytes() for buffer in buffers if not buffer.DataIsNone()]
    assert len(set(contents)) == len(contents) == len(buffers) - 1
    assert buffers[0].DataIsNone()
    vectors = [buffer._tab.Vector(buffer._tab.Offset(4)) for buffer in buffers[1:]]
    assert {place % 16 for place in vectors} == {0}


def test_once_is_enough(large):
    small = flatbuffer.compact(large)
    assert flatbuffer.compact(small) == small


def test_written_files_are_small():
    content = exported.static_file().read_bytes()
    model = content[: content.index(b"PK\x03\x04")]
    assert len(flatbuffer.compact(model)) == len(model)
