"""Calls of gRPC through the gateway to scorers on real sockets."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import Counter
from typing import Any

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("google.protobuf")
grpc = pytest.importorskip("grpc")

from serve.endpoints.spec import RequestSettings  # noqa: E402
from serve.rpc.messages import message  # noqa: E402
from serve.scorers.base import InputError  # noqa: E402
from serve.scorers.inputs import Inputs  # noqa: E402
from serve.scorers.models.base import Field, Model, Signature  # noqa: E402
from tests.serve.gateway.stage import Echo, Stage  # noqa: E402
from tests.serve.rpc.port import KEY, Client, play, scored  # noqa: E402

Request = message("ModelInferRequest")


class Mirror(Model):
    """Its outputs are its inputs. ``params`` are kept."""

    signature = Signature("mirror", (Field("x", "FP32", (-1, 2)),), (Field("x", "FP32", (-1, 2)),))

    def __init__(self) -> None:
        self.params: Any = None

    def predict(self, inputs: Inputs) -> Any:
        self.params = dict(inputs.params)
        if "fail" in self.params:
            raise RuntimeError("no memory")
        if "strange" in self.params:
            raise InputError("this is strange")
        return inputs.tensors


def asked(datatype: str = "FP32", shape: Any = (1, 2), raw: bytes | None = b"\0\0\x80?\0\0\0@", **told: Any) -> Any:
    request = Request(**{"model_name": "shop", **told})
    request.inputs.add(name="x", datatype=datatype, shape=shape)
    if raw is not None:
        request.raw_input_contents.append(raw)
    return request


async def open_shop(it: Stage, model: Model | None = None, names: tuple[str, ...] = ("blue",), **endpoint: Any) -> None:
    for name in names:
        await it.instance(name, scored(model or Mirror()))
    it.open({names[0]: 100}, **endpoint)


def test_raw_bytes_come_back_as_raw_bytes() -> None:
    async def scene(it: Stage, client: Client, port: int) -> None:
        await open_shop(it)
        answer = await client.call("ModelInfer", asked(id="seven"))
        assert (answer.model_name, answer.model_version, answer.id) == ("shop", "blue", "seven")
        assert [(one.name, one.datatype, list(one.shape)) for one in answer.outputs] == [("x", "FP32", [1, 2])]
        assert list(answer.raw_output_contents) == [b"\0\0\x80?\0\0\0@"]
        assert not answer.outputs[0].HasField("contents")

    play(scene)


@pytest.mark.parametrize(
    ("datatype", "field", "values"),
    [
        ("BOOL", "bool_contents", [True, False]),
        ("INT8", "int_contents", [-128, 127]),
        ("INT16", "int_contents", [-32768, 32767]),
        ("INT32", "int_contents", [-(2**31), 2**31 - 1]),
        ("INT64", "int64_contents", [-(2**63), 2**63 - 1]),
        ("UINT8", "uint_contents", [0, 255]),
        ("UINT16", "uint_contents", [0, 65535]),
        ("UINT32", "uint_contents", [0, 2**32 - 1]),
        ("UINT64", "uint64_contents", [0, 2**64 - 1]),
        ("FP32", "fp32_contents", [float("inf"), 0.5]),
        ("FP64", "fp64_contents", [1e300, -0.1]),
        ("BYTES", "bytes_contents", ["ä".encode(), b"\xff\0"]),
    ],
)
def test_typed_contents_come_back_as_typed_contents(datatype: str, field: str, values: list[Any]) -> None:
    async def scene(it: Stage, client: Client, port: int) -> None:
        await open_shop(it)
        request = asked(datatype, [2], None)
        getattr(request.inputs[0].contents, field).extend(values)
        answer = await client.call("ModelInfer", request)
        assert answer.outputs[0].datatype == datatype
        assert list(getattr(answer.outputs[0].contents, field)) == values
        assert not answer.raw_output_contents

    play(scene)


def test_a_type_without_typed_contents_comes_in_bytes() -> None:
    class Half(Mirror):
        def predict(self, inputs: Inputs) -> Any:
            return {"a": np.ones(1, "f2"), "b": np.ones(1, "i4")}

    async def scene(it: Stage, client: Client, port: int) -> None:
        await open_shop(it, Half())
        request = asked("INT32", [1], None)
        request.inputs[0].contents.int_contents.append(1)
        answer = await client.call("ModelInfer", request)
        assert list(answer.raw_output_contents) == [b"\0<", b"\1\0\0\0"]

    play(scene)


def test_parameters_and_wanted_outputs_reach_the_model() -> None:
    model = Mirror()

    async def scene(it: Stage, client: Client, port: int) -> None:
        await open_shop(it, model)
        request = asked()
        request.inputs.add(name="y", datatype="INT8", shape=[1])
        request.raw_input_contents.append(b"\5")
        request.outputs.add(name="y")
        for name, kind, value in (
            ("seed", "int64_param", -1),
            ("who", "string_param", "me"),
            ("hot", "bool_param", True),
            ("t", "double_param", 0.5),
            ("big", "uint64_param", 2**64 - 1),
            ("binary_data_output", "bool_param", False),  # about the form of REST, and not the model's
        ):
            setattr(request.parameters[name], kind, value)
        answer = await client.call("ModelInfer", request)
        assert [one.name for one in answer.outputs] == ["y"] and list(answer.raw_output_contents) == [b"\5"]
        assert model.params == {"seed": -1, "who": "me", "hot": True, "t": 0.5, "big": 2**64 - 1}

    play(scene)


def bad(change: Any) -> Any:
    request = asked()
    change(request)
    return request


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (asked("FP31"), "datatype 'FP31'"),
        (asked("FP31", raw=None), "FP31, which has no typed contents"),
        (asked("FP16", raw=None), "FP16, which has no typed contents"),
        (asked(shape=[1, 3]), "of shape .* has 2 values"),
        (asked(shape=[-1, 2]), "shape of the tensor 'x'"),
        (asked(raw=b"123"), "bytes of the tensor 'x' are not FP32"),
        (asked(raw=None), "of shape .* has 0 values"),
        (asked("BYTES", [1], b"\xff\0\0\0a"), "end in the middle"),
        (Request(model_name="shop"), "no inputs"),
        (bad(lambda one: one.raw_input_contents.append(b"")), "1 inputs, and 2 raw_input_contents"),
        (bad(lambda one: one.inputs[0].contents.fp32_contents.append(1)), "contents beside the raw"),
        (bad(lambda one: one.outputs.add(name="z")), "no output 'z'"),
        (bad(lambda one: one.parameters["strange"].SetInParent()), "this is strange"),
        (bad(lambda one: setattr(one.inputs[0].parameters["shared_memory_region"], "string_param", "a")), "shared"),
    ],
)
def test_what_the_model_cannot_be_asked_is_an_invalid_argument(request_: Any, words: str) -> None:
    async def scene(it: Stage, client: Client, port: int) -> None:
        await open_shop(it)
        code, told = await client.refused("ModelInfer", request_)
        assert code == "INVALID_ARGUMENT"
        assert re.search(words, told), told

    play(scene)


def test_typed_contents_that_do_not_fit_say_so() -> None:
    async def scene(it: Stage, client: Client, port: int) -> None:
        await open_shop(it)
        narrow, other = asked("INT8", [1], None), asked("INT8", [1], None)
        narrow.inputs[0].contents.int_contents.append(300)
        other.inputs[0].contents.fp32_contents.append(1)
        assert await client.refused("ModelInfer", narrow) == (
            "INVALID_ARGUMENT",
            "The tensor 'x' holds numbers that INT8 has no room for.",
        )
        assert "it has fp32_contents" in (await client.refused("ModelInfer", other))[1]

    play(scene)


def test_the_endpoint_s_door_is_the_same() -> None:
    async def scene(it: Stage, client: Client, port: int) -> None:
        await open_shop(it, properties={"pf.requests_per_minute": "2"})
        for given in ((), (("authorization", "Bearer wrong"),), (("authorization", "first-key"),)):
            for method, request in (("ModelInfer", asked()), ("ModelReady", message("ModelReadyRequest")(name="shop"))):
                code, told = await client.refused(method, request, given)
                assert code == "UNAUTHENTICATED" and "key" in told and "first-key" not in told
        await client.call("ModelInfer", asked())
        await client.call("ModelInfer", asked())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.call("ModelInfer", asked())
        assert caught.value.code().name == "RESOURCE_EXHAUSTED"
        assert int(dict(caught.value.trailing_metadata())["retry-after"]) > 0
        await client.call("ModelInfer", asked(), (("api-key", "second-key"),))

    play(scene)


def test_whoever_shows_no_key_is_refused_before_the_message_is_there() -> None:
    async def scene(it: Stage, client: Client, port: int) -> None:
        await open_shop(it)
        before = it.gateway.figures.requests.copy()
        code, _ = await client.refused("ModelInfer", b"no message at all", ())
        assert code == "UNAUTHENTICATED" and it.gateway.figures.requests == before
        assert (await client.refused("ModelInfer", b"no message at all"))[0] in ("INTERNAL", "UNKNOWN")

    play(scene)


def test_a_version_is_a_deployment() -> None:
    async def scene(it: Stage, client: Client, port: int) -> None:
        await open_shop(it, names=("blue", "green"))
        green = (*KEY, ("azureml-model-deployment", "green"))
        assert (await client.call("ModelInfer", asked())).model_version == "blue"
        assert (await client.call("ModelInfer", asked(model_version="green"))).model_version == "green"
        assert (await client.call("ModelInfer", asked(), green)).model_version == "green"
        code, told = await client.refused("ModelInfer", asked(model_version="blue"), green)
        assert code == "INVALID_ARGUMENT" and "different deployments" in told
        for wrong in (asked(model_version="1"), asked(model_version="blue\r\nx: y"), asked(model_version="ü")):
            assert (await client.refused("ModelInfer", wrong))[0] == "NOT_FOUND"
        told = await client.call("ModelMetadata", message("ModelMetadataRequest")(name="shop"))
        assert (list(told.versions), told.platform) == (["blue", "green"], "mirror")
        assert [(one.name, one.datatype, list(one.shape)) for one in told.inputs] == [("x", "FP32", [-1, 2])]
        it.open({"blue": 50, "green": 50})
        found = [(await client.call("ModelInfer", asked())).model_version for _ in range(4)]
        assert sorted(found) == ["blue", "blue", "green", "green"]

    play(scene)


@pytest.mark.parametrize("name", ["none", "../shop", "shop\r\nx: y", "ü"])
def test_a_model_that_nobody_has_is_not_found(name: str) -> None:
    async def scene(it: Stage, client: Client, port: int) -> None:
        await open_shop(it)
        assert (await client.refused("ModelInfer", asked(model_name=name)))[0] == "NOT_FOUND"
        assert (await client.refused("ModelReady", message("ModelReadyRequest")(name=name)))[0] == "NOT_FOUND"
        assert (await client.refused("ModelInfer", asked(model_name="")))[0] == "INVALID_ARGUMENT"
        assert (await client.refused("ModelInfer", asked(model_name="x" * 70_000)))[0] == "RESOURCE_EXHAUSTED"

    play(scene)


def test_a_model_without_an_instance_is_not_ready() -> None:
    async def scene(it: Stage, client: Client, port: int) -> None:
        ready = message("ModelReadyRequest")(name="shop")
        it.lane("blue")
        it.open({"blue": 100})
        assert not (await client.call("ModelReady", ready)).ready
        assert (await client.refused("ModelInfer", asked()))[0] == "UNAVAILABLE"
        await open_shop(it)
        assert (await client.call("ModelReady", ready)).ready

    play(scene)


def test_the_server_tells_of_itself_to_anybody() -> None:
    async def scene(it: Stage, client: Client, port: int) -> None:
        for method, field in (("ServerLive", "live"), ("ServerReady", "ready")):
            assert getattr(await client.call(method, b"", ()), field)
        told = await client.call("ServerMetadata", b"", ())
        assert (told.name, list(told.extensions)) == ("promptflow", ["binary_tensor_data"])

    play(scene)


def test_a_message_that_is_too_large_is_refused() -> None:
    async def scene(it: Stage, client: Client, port: int) -> None:
        await open_shop(it)
        large = asked("INT8", [2000], bytes(2000))
        code, told = await client.refused("ModelInfer", large)
        assert code == "RESOURCE_EXHAUSTED" and "larger than max" in told
        assert (await client.refused("ModelInfer", large, compression=grpc.Compression.Gzip))[0] == "RESOURCE_EXHAUSTED"
        typed = asked("INT64", [200], None)
        typed.inputs[0].contents.int64_contents.extend([1] * 200)  # a byte each there, and eight as they go on
        assert (await client.refused("ModelInfer", typed))[0] == "RESOURCE_EXHAUSTED"

    play(scene, max_body=1000)


def test_errors_of_the_model_and_of_its_instance_have_their_codes() -> None:
    async def scene(it: Stage, client: Client, port: int) -> None:
        await open_shop(it)
        request = asked()
        request.parameters["fail"].bool_param = True
        code, told = await client.refused("ModelInfer", request)
        assert code == "INTERNAL" and "no memory" in told
        await it.instance("green", Echo("green", hold=asyncio.Event()))
        it.lanes["green"].change(RequestSettings(timeout=0.2))
        assert (await client.refused("ModelInfer", asked(model_version="green")))[0] == "DEADLINE_EXCEEDED"

    play(scene)


def test_who_finds_all_busy_is_told_when_to_come_again() -> None:
    async def scene(it: Stage, client: Client, port: int) -> None:
        it.lane("blue", concurrency=1, queue_wait=0.05)
        echo = Echo(hold=asyncio.Event())
        await it.instance("blue", echo)
        it.open({"blue": 100})
        first = asyncio.ensure_future(client.refused("ModelInfer", asked()))
        while not echo.seen:
            await asyncio.sleep(0.01)
        code, told = await client.refused("ModelInfer", asked())
        assert code == "RESOURCE_EXHAUSTED" and "busy" in told
        assert echo.hold is not None
        echo.hold.set()
        await first

    play(scene)


@pytest.mark.parametrize("end", ["deadline", "cancel"])
def test_a_caller_that_waits_no_longer_ends_the_request(end: str) -> None:
    async def scene(it: Stage, client: Client, port: int) -> None:
        echo = Echo(hold=asyncio.Event())
        await it.instance("blue", echo)
        it.open({"blue": 100})
        limit = {"timeout": 0.3} if end == "deadline" else {}
        asking = asyncio.ensure_future(client.refused("ModelInfer", asked(), **limit))
        while not echo.seen:
            await asyncio.sleep(0.01)
        if end == "cancel":
            asking.cancel()
        else:
            assert (await asking)[0] == "DEADLINE_EXCEEDED"
        while not echo.gone or it.lanes["blue"].in_flight:
            await asyncio.sleep(0.01)
        assert it.gateway.figures.requests["shop", "blue", 499] == 1

    play(scene)


def test_the_instance_gets_the_caller_s_words_and_not_its_key() -> None:
    async def scene(it: Stage, client: Client, port: int) -> None:
        echo = Echo()
        await it.instance("blue", echo)
        it.open({"blue": 100})
        more = (
            ("x-request-id", "me-1"),
            ("x-own", "1"),
            ("x-own-bin", b"\0"),
            ("inference-header-content-length", "3"),
        )
        await client.refused("ModelInfer", asked(id="a"), (*KEY, *more))
        seen = echo.seen[0]
        assert (seen["method"], seen["path"]) == ("POST", "/v2/models/shop/infer")
        assert seen["headers"]["x-request-id"] == "me-1" and seen["headers"]["x-own"] == "1"
        assert not {"authorization", "x-own-bin", "grpc-accept-encoding", "te"} & seen["headers"].keys()
        size = int(seen["headers"]["inference-header-content-length"])
        assert json.loads(seen["body"][:size])["id"] == "a"

    play(scene)


def test_a_stream_answers_each_request_in_its_order() -> None:
    async def scene(it: Stage, client: Client, port: int) -> None:
        await open_shop(it)
        requests = [asked(id="1"), asked("FP31", id="2"), asked(id="3", model_name="none"), asked(id="4")]
        stream = client.stream(requests)
        found = [(one.infer_response.id, bool(one.error_message)) async for one in stream]
        assert found == [("1", False), ("2", True), ("3", True), ("4", False)]

    play(scene)


def strange(rng: random.Random) -> Any:
    """A request that is a message of the protocol, and mostly nonsense."""
    request = asked("FP64", [2, 3], bytes(48), id=rng.choice(["", "7", "\n\0"]))
    if rng.random() < 0.1:
        return request
    kinds = ["BOOL", "INT8", "INT64", "UINT64", "FP16", "FP32", "FP64", "BYTES", "", "fp32", "\n"]
    sizes = [0, 1, 1, 2, 3, -1, 2**31, 2**62, -(2**63)]
    fields = message("InferTensorContents").DESCRIPTOR.fields_by_name
    if rng.random() < 0.7:
        request.ClearField("raw_input_contents")
        request.ClearField("inputs")
    for _ in range(rng.choice([0, 0, 1, 1, 2])):
        shape = [rng.choice(sizes) for _ in range(rng.choice([0, 1, 2, 2, 2, 70]))]
        tensor = request.inputs.add(name=rng.choice(["x", "input", "", "x\n"]), datatype=rng.choice(kinds), shape=shape)
        if rng.random() < 0.4:
            field = rng.choice(list(fields))
            value = b"\xff" if field == "bytes_contents" else True if field == "bool_contents" else 1
            getattr(tensor.contents, field).extend([value] * rng.choice([1, 3, 6]))
    for _ in range(rng.choice([0, 0, len(request.inputs), 1])):
        request.raw_input_contents.append(rng.randbytes(rng.choice([0, 1, 4, 12, 24, 48])))
    for _ in range(rng.choice([0, 0, 0, 1])):
        request.outputs.add(name=rng.choice(["predict", "predict_proba", "", "__class__", "\n"]))
    if rng.random() < 0.2:
        holder = rng.choice([request, *request.inputs, *request.outputs])
        holder.parameters[rng.choice(["binary_data_size", "binary_data_output", "a", ""])].int64_param = -1
    return request


def test_whatever_a_request_holds_the_server_does_not_fail() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    from serve.scorers.models.sklearn import SklearnModel

    rows = np.arange(12.0).reshape(4, 3)
    model = SklearnModel(linear.LogisticRegression().fit(rows, [0, 0, 1, 1]))
    rng = random.Random(5)
    codes: Counter[str] = Counter()

    async def scene(it: Stage, client: Client, port: int) -> None:
        await open_shop(it, model)
        for _ in range(200):
            request = strange(rng)
            try:
                await client.call("ModelInfer", request, timeout=20)
                codes["OK"] += 1
            except grpc.aio.AioRpcError as error:
                codes[error.code().name] += 1
                assert error.code().name == "INVALID_ARGUMENT", (request, error.details())
                assert error.details()

    play(scene)
    assert codes["OK"] and codes["INVALID_ARGUMENT"]
