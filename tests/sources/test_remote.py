"""A model on a server, by a real server in a thread that speaks the Open Inference Protocol."""

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from transfuse.core.errors import SourceError, UsageError
from transfuse.sources import remote
from transfuse.sources.remote import RemoteNetwork, is_remote, served

WEIGHT_CK = np.random.default_rng(0).normal(size=(3, 3 * 8 * 8)).astype(np.float32)


class Server(http.server.ThreadingHTTPServer):
    """Holds how it answers."""

    binary = False
    kind = "FP32"
    answer: Any = staticmethod(lambda x_BK: x_BK @ WEIGHT_CK.T)
    asked = 0

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.broken: list[int] = []


class Handler(http.server.BaseHTTPRequestHandler):
    """`GET v2`, `GET v2/models/net`, `POST v2/models/net/infer`."""

    server: Server

    def do_GET(self) -> None:
        found = {"name": "server", "extensions": ["binary_tensor_data"] if self.server.binary else []}
        if self.path != "/v2":
            found = {
                "name": "net",
                "inputs": [{"name": "x", "datatype": self.server.kind, "shape": [-1, 3, 8, 8]}],
                "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 3]}],
            }
        self.send(json.dumps(found).encode())

    def do_POST(self) -> None:
        self.server.asked += 1
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.broken:
            code = self.server.broken.pop(0)
            if not code:
                self.close_connection = True
                return
            self.send(b"busy", code)
            return
        length = int(self.headers.get("Inference-Header-Content-Length") or len(content))
        document = json.loads(content[:length])["inputs"][0]
        kind = {"FP32": np.float32, "UINT8": np.uint8}[document["datatype"]]
        given = content[length:]
        values = np.frombuffer(given, kind) if given else np.array(document["data"], kind)
        found = np.asarray(self.server.answer(values.reshape(document["shape"][0], -1).astype(np.float32)), np.float32)
        output: dict[str, Any] = {"name": "y", "datatype": "FP32", "shape": list(found.shape)}
        if not given:
            self.send(json.dumps({"outputs": [{**output, "data": found.ravel().tolist()}]}).encode())
            return
        output["parameters"] = {"binary_data_size": found.nbytes}
        head = json.dumps({"outputs": [output]}).encode()
        self.send(head + found.tobytes(), 200, {"Inference-Header-Content-Length": str(len(head))})

    def send(self, body: bytes, code: int = 200, headers: Any = None) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return None


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Answers with a linear map; waits between trials are short."""
    monkeypatch.setattr(remote, "WAITS", (0.01, 0.01))
    with Server(("127.0.0.1", 0), Handler) as found:
        threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True).start()
        yield found
        found.shutdown()


def address(server: Server, more: str = "") -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/v2/models/net{more}"


def pictures(count: int = 5) -> torch.Tensor:
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("binary", [False, True])
def test_answers_come_as_json_or_bytes(binary, server: Server):
    server.binary = binary
    model = served(address(server))
    assert (model.binary, model.outputs, model.preprocessing.size) == (binary, 3, (8, 8))
    x = pictures()
    expected = x.flatten(1).numpy() @ WEIGHT_CK.T
    np.testing.assert_allclose(RemoteNetwork(model, 3)(x).numpy(), expected, rtol=1e-4, atol=1e-4)


def test_whole_numbers_are_sent_to_who_wants_them(server: Server):
    server.kind = "UINT8"
    model = served(address(server))
    assert model.preprocessing.range == 255
    x = (255 * pictures()).round()
    found = RemoteNetwork(model, 3)(x).numpy()
    np.testing.assert_allclose(found, x.flatten(1).numpy() @ WEIGHT_CK.T, rtol=1e-4)


def test_probabilities_become_logits(server: Server):
    server.answer = lambda x: torch.softmax(torch.from_numpy(x @ WEIGHT_CK.T), 1).numpy()
    x = pictures()
    found = RemoteNetwork(served(address(server)), 3)(x).softmax(1).numpy()
    np.testing.assert_allclose(found, server.answer(x.flatten(1).numpy()), rtol=1e-4)


def test_the_address_says_what_the_protocol_does_not(server: Server):
    model = served(address(server, "/infer?mean=0.5,0.5,0.5&std=0.2,0.2,0.2&classes=a,b,c&timeout=3"))
    assert (model.preprocessing.mean, model.classes, model.timeout) == ((0.5,) * 3, ("a", "b", "c"), 3.0)
    assert is_remote(address(server))
    assert not is_remote("timm:resnet18")
    for wrong, words in (("?means=1", "says 'means'"), ("?mean=x", "must be numbers"), ("?mean=0.5", "3 channels")):
        with pytest.raises(UsageError, match=words):
            served(address(server, wrong))
    with pytest.raises(UsageError, match="http://HOST"):
        served("http://127.0.0.1:1/models/net")


@pytest.mark.parametrize("code", [503, 0])
def test_what_fails_for_a_moment_is_tried_again(code, server: Server):
    model = served(address(server))
    server.broken = [code, code]
    assert RemoteNetwork(model, 3)(pictures()).shape == (5, 3)
    assert server.asked == 3


@pytest.mark.parametrize(
    ("broken", "answer", "words"),
    [
        ([400], None, "refused .* 400 .*busy"),
        ([503, 503, 503], None, "refused .* 503"),
        ([0, 0, 0], None, "does not .* 3 times.*the same command goes on"),
        ([], lambda x: x[:, :2], r"must answer \(5, 3\).*but answered \(5, 2\)"),
    ],
)
def test_what_goes_wrong_is_told(broken, answer, words, server: Server):
    model = served(address(server))
    server.broken = broken
    if answer:
        server.answer = answer
    with pytest.raises(SourceError, match=words):
        RemoteNetwork(model, 3)(pictures())


def test_a_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(remote, "WAITS", ())
    with pytest.raises(SourceError, match="does not"):
        served("http://127.0.0.1:9/v2/models/net")
