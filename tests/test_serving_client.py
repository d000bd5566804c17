"""export.serving_client against the double, and against TF Serving's own server where that is installed."""

import contextlib
import csv
import json
import re
import shutil
import socket
import socketserver
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import exported
import numpy as np
import pytest
import running
import serving_double
from conftest import CHECKOUT
from local_server import listening
from PIL import Image
from test_cli import check_error
from test_predict import write_pictures

from export import serving_calls, serving_client
from export.model_server import on_one_line
from sib_tf.commands import cli
from sib_tf.pictures import picture_folders
from sib_tf.prediction import predictions
from sib_tf.prediction.models import KerasModel

SERVER = "tensorflow_model_server"
NO_SERVER = f"{SERVER} is not installed: see tensorflow.org/tfx/serving/setup, or run docker's tensorflow/serving"
NO_GRPC = "no tensorflow-serving-api: pip install 'sib_tf[serve]'"
CLASSES = ["grün, hell", "日本", "a b"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Labelled pictures `support` and unlabelled ones `query`, two of them broken."""
    home = tmp_path_factory.mktemp("home")
    for number, name in enumerate(CLASSES):
        write_pictures(home / "support" / name, ["0.png", "1.png"], seed=number)
        write_pictures(home / "query" / f"ä {number}", [f"b,{query}.png" for query in range(3)], seed=10 + number)
    Image.fromarray(exported.pictures(1)[0].repeat(3, 0).repeat(2, 1)).save(home / "query" / "größer.png")
    (home / "query" / "kaputt.png").write_bytes(b"no picture")
    (home / "support" / "a b" / "broken.jpg").write_bytes(b"")
    return home


@pytest.fixture(scope="module")
def model():
    return serving_double.ServedModel("sib", exported.saved_model())


@pytest.fixture(scope="module")
def rest(model):
    with serving_double.rest(model) as address:
        yield address


@pytest.fixture(scope="module", params=["double rest", "double grpc", "server rest", "server grpc"])
def server(request, model):
    """Flags that lead to a server."""
    kind, protocol = request.param.split()
    if protocol == "grpc":
        pytest.importorskip("tensorflow_serving", reason=NO_GRPC)
    with getattr(serving_double, protocol)(model) if kind == "double" else real(protocol) as address:
        yield {"server": address, "protocol": protocol}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")


def at(port: int, protocol: str) -> dict:
    """Flags that lead to a port of this machine; skips the test where `protocol` needs a package that is not there."""
    if protocol == "grpc":
        pytest.importorskip("tensorflow_serving", reason=NO_GRPC)
    return {"server": f"{'http://' if protocol == 'rest' else ''}127.0.0.1:{port}", "protocol": protocol}


@contextlib.contextmanager
def real(protocol: str):
    """TF Serving's own server on free ports."""
    if shutil.which(SERVER) is None:
        pytest.skip(NO_SERVER)
    ports = {"rest": free_port(), "grpc": free_port()}
    command = [SERVER, f"--port={ports['grpc']}", f"--rest_api_port={ports['rest']}", "--model_name=sib"]
    command += [f"--model_base_path={exported.saved_model().parent}"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{ports['rest']}/v1/models/sib")
        yield at(ports[protocol], protocol)["server"]
    finally:
        process.terminate()
        process.wait()


def wait_for(url: str) -> None:
    for _ in range(120):
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            if b"AVAILABLE" in answer.read():
                return
        time.sleep(0.5)
    pytest.fail(f"{url} does not come up")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def call(home: Path, **flags) -> int:
    return running.run(serving_client, {"support": home / "support", "query": home / "query"}, **flags)


def test_pictures_that_are_there_twice_are_said(capsys, home, server, tmp_path):
    for folder in ("support", "query"):
        shutil.copytree(home / folder, tmp_path / folder)
    first, second = (tmp_path / "support" / name / "0.png" for name in CLASSES[:2])
    shutil.copy(first, second)
    shutil.copy(tmp_path / "support" / CLASSES[1] / "1.png", tmp_path / "query" / "copy.png")
    assert call(tmp_path, **server) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Note: ")]
    assert len(notes) == 2 and "labelled as" in notes[0] and "copy.png" in notes[1]


def test_predictions_are_those_of_the_keras_model(capsys, home, server):
    assert call(home, **server, output="out.csv") == 0
    streams = capsys.readouterr()
    run = exported.load_run(exported.run_folder())
    support, query = picture_folders.read_support(home / "support", 32), picture_folders.read_query(home / "query", 32)
    model, names = KerasModel(run), [path.relative_to(home / "query").as_posix() for path in query.paths]
    rows = model.embed(support.pictures), support.labels, model.embed(query.pictures)
    expected = predictions.predict(model, *rows, names)
    with Path("out.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["file", "class", "confidence"]
    assert [row[0] for row in rows] == [answer.file for answer in expected]
    assert [row[1] for row in rows] == [answer.class_name for answer in expected]
    assert {row[1] for row in rows} <= set(CLASSES) and len(rows) == 10
    certain = [answer.probability for answer in expected]
    np.testing.assert_allclose([float(row[2]) for row in rows], certain, rtol=0, atol=1e-4)
    lines = streams.out.splitlines()
    assert lines[0].split() == ["file", "class", "confidence"] and len(lines) == 11
    assert all(line.startswith(row[0]) and row[1] in line for line, row in zip(lines[1:], rows, strict=True))
    assert "Skipped 2 pictures:" in streams.err
    assert "broken.jpg" in streams.err and "kaputt.png" in streams.err


def test_padding_changes_nothing(capsys, home, server):
    assert call(home, **server) == 0
    expected = capsys.readouterr().out
    assert call(home, **server, support=f"{home}/support/<class>/*", support_rows=25, query_rows=75) == 0
    assert capsys.readouterr().out == expected


def test_what_the_server_says_is_passed_on(capsys, home, server):
    code = call(home, **server, model="cats")
    check_error(capsys, code, r"model 'cats' is not served by .*cats.*; name one that is, with --model\.")


def test_an_episode_that_the_model_refuses(capsys, home):
    """A joint model of five classes gets three: the assertion's text comes from the graph."""
    joint = serving_double.ServedModel("sib", exported.saved_model("joint"))
    with serving_double.rest(joint) as address:
        assert call(home, server=address) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"error: server {address} refused the request with status 400: assertion failed: ")
    assert "every episode must have a support row of each of 5 classes" in last


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"server": None}, "flag --server"),
        ({"server": "localhost:8501"}, "server must be an address such as http://localhost:8501; got 'localhost:8501'"),
        ({"server": "ftp://host"}, "server must be an address such as"),
        ({"server": "http://"}, "server must be an address such as"),
        ({"server": "http://host:port"}, "server must be an address such as"),
        ({"protocol": "smtp"}, "flag --protocol=smtp"),
        ({"timeout": 0}, "flag --timeout"),
        ({"output": "out.txt"}, r"output must end in \.csv; got out\.txt\."),
        ({"support": "none"}, "Folder none cannot be opened"),
        ({"query": "none"}, "Folder none cannot be opened"),
        ({"support_rows": 5}, r"support_rows must be at least the 6 pictures of support; got 5\."),
        ({"query_rows": 5}, r"query_rows must be at least the 10 pictures of query; got 5\."),
        ({"query": "."}, r"query .* must have at least one picture"),
    ],
)
def test_flags_that_cannot_be_used(capsys, home, rest, flags, message):
    code = call(home, **{"server": rest, **flags})
    captured = capsys.readouterr()
    assert (code, captured.out) == (2, "")
    assert captured.err.splitlines()[-1].startswith("error: ")
    assert re.search(message, captured.err.splitlines()[-1]), captured.err


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_no_server(capsys, home, protocol):
    there = at(free_port(), protocol)
    why = ".Connection refused.; start it" if protocol == "rest" else ""
    check_error(capsys, call(home, **there), f"server {there['server']} cannot be reached {why}")


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_a_server_that_takes_too_long(capsys, home, protocol):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        there = at(silent.getsockname()[1], protocol)
        message = rf"server {there['server']} gave no answer in 0\.5 s; allow more"
        message += "" if protocol == "rest" else rf"|server {there['server']} cannot be reached"
        check_error(capsys, call(home, **there, timeout=0.5), message)


@pytest.mark.parametrize("address", ["http://localhost:8500", "localhost", "host:port", "host:²"])
def test_grpc_addresses(capsys, home, address):
    pytest.importorskip("tensorflow_serving", reason=NO_GRPC)
    code = call(home, server=address, protocol="grpc")
    check_error(capsys, code, "server must be host:port for gRPC, such as localhost:8500; got ")


def test_without_the_grpc_package(capsys, home, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    monkeypatch.delitem(sys.modules, "export.serving_grpc", raising=False)
    code = call(home, server="localhost:8500", protocol="grpc")
    check_error(capsys, code, r"protocol grpc needs the package tensorflow-serving-api .*pip install 'sib_tf\[serve\]'")


def http(status: int, body: str, length: int | None = None) -> bytes:
    return f"HTTP/1.1 {status} .\r\nContent-Length: {length or len(body)}\r\n\r\n{body}".encode()


INPUTS = {name: {"tensor_shape": {}} for name in ("support_images", "query_images")}
METADATA = {"metadata": {"signature_def": {"signature_def": {"serving_default": {"inputs": INPUTS}}}}}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (http(200, "<html>hello</html>"), "server .* gave no model server's answer: it is not JSON"),
        (http(200, "[]"), "server .* gave no model server's answer: its metadata have no signature serving_default"),
        (http(200, '{"metadata": {}}'), "server .* gave no model server's answer: its metadata"),
        (http(200, json.dumps(METADATA)), r"model 'sib' must take the inputs of a SavedModel of export\.saved_model"),
        (http(200, "{", length=6), "server .* broke off in the middle"),
        (http(502, "<h1>Bad gateway</h1>"), "server .* refused the request with status 502: <h1>Bad gateway</h1>"),
        (http(503, r'{"error": "full,\nwait"}'), "server .* refused the request with status 503: full, wait"),
        (http(400, r'{ "error": "\303\244" }'), r"server .* refused the request with status 400: .*303"),
        (http(404, ""), "model 'sib' is not served by"),
        (b"220 mail.example ESMTP\r\n", r"server http://127\.0\.0\.1:\d+ does not speak HTTP; name its REST port"),
    ],
)
def test_answers_that_are_no_model_servers(capsys, home, answer, message):
    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.recv(10_000)
            self.request.sendall(answer)

    with listening(Handler) as address:
        check_error(capsys, call(home, server=address), message)


def test_long_errors_are_cut():
    assert on_one_line("x\n" * 5000) == "x " * 300 + " ..."


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"predicted_class": None}, "lacks a class or a confidence"),
        ({"predicted_class": [[0.5, 1.0]]}, "lacks a class or a confidence"),
        ({"predicted_class": [[0]], "confidence": [[0.5]]}, "lacks a class or a confidence"),
        ({"predicted_class": np.zeros((0, 2), int)}, "lacks a class or a confidence"),
        ({"predicted_class": [[0, 3]]}, "classes beyond the 3 given"),
        ({"predicted_class": [[0, -1]]}, "classes beyond the 3 given"),
        ({"confidence": [[0.5, float("nan")]]}, "confidences beyond 0 to 1"),
        ({"confidence": [[0.5, 7.0]]}, "confidences beyond 0 to 1"),
    ],
)
def test_answers_that_cannot_be_true(changes, message):
    answer = {"predicted_class": [[0, 2]], "confidence": [[0.5, 0.9]], **changes}
    outputs = {name: np.array(value) for name, value in answer.items() if value is not None}
    with pytest.raises(cli.InputError, match=message):
        serving_calls.checked(outputs, way=3, queries=2)


def test_the_table_is_aligned():
    text = serving_client.table([("a.png", "日本", "0.5000"), ("naïve\nfile.png", "e\u0301te", "1.0000")])
    header, first, second = text.split("\n")
    assert second == "naïve\\nfile.png  e\u0301te    1.0000"
    assert first == "a.png            日本   0.5000"
    assert header == "file             class  confidence"


def test_rest_needs_no_tensorflow(home, rest):
    """A process that cannot import it; standard output that can only show ASCII."""
    program = (
        "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        "from export import serving_client as c; from sib_tf.commands import cli\n"
        "sys.exit(cli.run(c.main, c.FLAGS, c.__doc__))"
    )
    arguments = [f"--server={rest}", f"--support={home / 'support'}", f"--query={home / 'query'}"]
    environment = {"PYTHONPATH": str(CHECKOUT), "PYTHONIOENCODING": "ascii", "no_proxy": "*", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert b"\\xe4 0/b,0.png" in done.stdout
