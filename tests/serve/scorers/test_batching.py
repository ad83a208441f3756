"""Requests that are predicted together: who gets what, and how many rows there are at once."""

import asyncio
import json
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

np = pytest.importorskip("numpy")

from serve.endpoints.spec import MODEL, Spec  # noqa: E402
from serve.scorers.base import LoadError, ModelError  # noqa: E402
from serve.scorers.batching import Batcher, Batching, Cap  # noqa: E402
from serve.scorers.inputs import Inputs  # noqa: E402
from tests.serve.scorers.workers import worker  # noqa: E402


class Doubler:
    """Doubles what it gets, and keeps how many rows came at once."""

    def __init__(self, seconds=0.0):
        self.sizes, self.seconds = [], seconds

    def __call__(self, inputs):
        array = inputs.array()
        self.sizes.append(len(array))
        time.sleep(self.seconds)
        if (array < 0).any():
            raise ModelError("negative")
        return {"twice": array * 2} if inputs.wanted else array * 2


def run(work, predict, batching):
    async def main():
        with ThreadPoolExecutor(1) as threads:
            return await work(Batcher(predict, batching, threads))

    return asyncio.run(main())


@pytest.mark.parametrize("seed", range(8))
def test_each_gets_its_own_and_the_most_rows_are_never_exceeded(seed):
    chance = random.Random(seed)
    most = chance.randint(1, 40)
    predict = Doubler(0.001)

    async def one(batcher):
        array = np.random.default_rng(chance.randrange(2**32)).random((chance.randint(1, 90), chance.choice([2, 3])))
        wanted = chance.choice([(), ("twice",)])
        await asyncio.sleep(chance.random() * 0.02)
        found = await batcher.submit(array, Inputs(None, {"": array}, {}, wanted))
        np.testing.assert_array_equal(found["twice"] if wanted else found, array * 2)

    async def work(batcher):
        await asyncio.gather(*(one(batcher) for _ in range(60)))

    run(work, predict, Batching(most, 1.0))
    assert max(predict.sizes) <= most


def test_what_comes_meanwhile_goes_together():
    predict = Doubler(0.01)

    async def work(batcher):
        await asyncio.gather(*(batcher.submit(np.ones((1, 2)), Inputs(None, {})) for _ in range(200)))

    run(work, predict, Batching(64, 1.0))
    assert sum(predict.sizes) == 200 and len(predict.sizes) < 60


def test_one_that_fails_does_not_fail_the_others():
    async def work(batcher):
        arrays = [np.full((1, 1), value) for value in (1, 2, -3, 4)]
        tasks = [batcher.submit(array, Inputs(None, {})) for array in arrays]
        return await asyncio.gather(*tasks, return_exceptions=True)

    one, two, three, four = run(work, Doubler(0.01), Batching(16, 1.0))
    assert [int(found[0, 0]) for found in (one, two, four)] == [2, 4, 8]
    assert isinstance(three, ModelError)


def test_who_hangs_up_is_left_out():
    predict = Doubler(0.05)

    async def work(batcher):
        first = asyncio.create_task(batcher.submit(np.ones((1, 1)), Inputs(None, {})))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(batcher.submit(np.ones((5, 1)), Inputs(None, {})))
        await asyncio.sleep(0.01)
        second.cancel()
        return await first

    run(work, predict, Batching(16, 1.0))
    assert predict.sizes == [1]


def test_the_cap_grows_while_batches_are_in_time_and_shrinks_when_one_is_late():
    cap = Cap(Batching(64, 0.1))
    for _ in range(100):
        cap.learn(cap.rows, 0.01)
    assert cap.rows == 64
    cap.learn(64, 0.2)
    assert cap.rows == 57
    cap.learn(10, 0.01)  # says nothing about 57
    assert cap.rows == 57
    for _ in range(100):
        cap.learn(cap.rows, 5.0)
    assert cap.rows == 1


def test_options_of_a_deployment():
    assert Batching.of({}) is None
    assert Batching.of({"batching": True}) == Batching()
    assert Batching.of({"batching": {"max_size": 8, "latency_ms": 50}}) == Batching(8, 0.05)
    with pytest.raises(LoadError, match="at least 1"):
        Batching.of({"batching": {"max_size": 0}})


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_a_deployment_that_declares_it(tmp_path):
    torch = pytest.importorskip("torch")
    module = torch.nn.Linear(3, 2)
    torch.jit.save(torch.jit.trace(module, torch.ones(1, 3)), tmp_path / "model.pt")
    spec = Spec(MODEL, model_path=tmp_path / "model.pt", options={"batching": {"max_size": 8, "latency_ms": 100}})
    with worker(tmp_path / "w", spec) as blue:
        rows = np.random.default_rng(1).random((20, 3))
        expected = module(torch.tensor(rows, dtype=torch.float32)).tolist()
        barrier = threading.Barrier(20)

        def ask(at):
            barrier.wait()
            return json.loads(blue.score({"input_data": [rows[at].tolist()]}).content)

        with ThreadPoolExecutor(20) as pool:
            found = list(pool.map(ask, range(20)))
        np.testing.assert_allclose([one[0] for one in found], expected, rtol=1e-4)
        assert len(blue.score({"input_data": rows.tolist()}).json()) == 20
        assert blue.score({"input_data": [["a", 1, 2]]}).status_code == 400
        assert blue.http.get("/v2/health/ready").status_code == 200
