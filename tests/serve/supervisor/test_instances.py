"""Instances as real processes: started, killed, replaced, scaled and drained."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from promptflow.workspace import pids
from serve.endpoints.spec import EnvironmentSpec, Probe
from serve.supervisor.places import log_folder, tail
from tests.serve.supervisor.world import says, world


def test_an_instance_that_is_killed_comes_back_and_no_request_fails(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            await it.endpoint()
            await it.deploy("blue", says("blue"))
            await it.traffic({"blue": 100})
            before = it.status("blue")["instances"][0]["pid"]
            it.kill("blue")
            assert await it.ask() == (200, b'"blue"')
            assert it.status("blue")["instances"][0]["pid"] != before
            assert it.app.gateway.figures.restarts["shop", "blue"] == 1
            assert "was ended by SIGKILL" in it.status("blue")["message"] and it.status("blue")["failures"] == 0

    asyncio.run(play())


def test_an_update_takes_over_without_a_failed_request(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            await it.endpoint()
            await it.deploy("blue", says("one"), instances=2)
            await it.traffic({"blue": 100})
            done = False

            async def keep_asking() -> list[tuple[int, bytes]]:
                found = []
                while not done:
                    found.append(await it.ask())
                    await asyncio.sleep(0.01)
                return found

            asking = asyncio.create_task(keep_asking())
            await it.deploy("blue", says("two"), instances=2)
            assert await it.ask() == (200, b'"two"')
            done = True
            found = await asking
            assert {status for status, _ in found} == {200}
            bodies = [body for _, body in found]
            assert bodies[0] == b'"one"' and {*bodies} <= {b'"one"', b'"two"'}
            await it.until(lambda: len(it.status("blue")["instances"]) == 2, "the old ones are gone")

    asyncio.run(play())


def test_what_fails_to_start_says_why_and_the_one_before_goes_on(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            await it.endpoint()
            await it.deploy("blue", says("one"))
            await it.traffic({"blue": 100})
            await it.deploy(
                "blue", "def init():\n    raise ValueError('no such thing')\n\ndef run(raw): ...\n", wait=False
            )
            await it.until(lambda: it.status("blue")["failures"] >= 2, "it has failed twice")
            status = it.status("blue")
            assert status["state"] in ("Failed", "CrashLoop")
            assert "exit code" in status["message"]
            assert any("no such thing" in line for line in status["log"])
            assert await it.ask() == (200, b'"one"')
            await it.deploy("blue", says("three"))
            assert await it.ask() == (200, b'"three"')

    asyncio.run(play())


def test_what_never_got_ready_is_503_at_once(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            await it.endpoint()
            await it.deploy("blue", "raise SystemExit(7)", wait=False)
            await it.traffic({"blue": 100})
            waiting = asyncio.create_task(it.ask())
            await it.until(lambda: it.status("blue")["failures"] >= 1, "it has failed")
            assert (await waiting)[0] == 503
            assert (await it.ask())[0] == 503

    asyncio.run(play())


def test_requests_wait_while_an_instance_that_crashed_is_started_again_but_not_for_ever(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            await it.endpoint()
            crashes = tmp_path / "crashes"
            crashes.write_text("1")
            await it.deploy(
                "blue",
                f"""
import os, pathlib
left = pathlib.Path({str(crashes)!r})
def init(): ...
def run(raw):
    if (number := int(left.read_text())) > 0:
        left.write_text(str(number - 1))
        os._exit(3)
    return "alive"
""",
            )
            await it.traffic({"blue": 100})
            assert await asyncio.gather(*(it.ask() for _ in range(3))) == [(200, b'"alive"')] * 3
            assert it.status("blue")["failures"] == 1
            crashes.write_text("100")
            assert (await it.ask())[0] == 503
            assert it.status("blue")["state"] == "CrashLoop"
            assert it.app.supervisor.fleets["shop", "blue"].lane.pause > 1

    asyncio.run(play())


def test_to_zero_and_back(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            await it.endpoint()
            await it.deploy("blue", says("blue"), min_instances=0, max_instances=1, idle_seconds=0.3)
            await it.traffic({"blue": 100})
            await it.until(lambda: it.status("blue")["state"] == "ScaledToZero", "it is scaled to zero")
            await it.until(lambda: not it.status("blue")["instances"], "no instance is left")
            assert await it.ask() == (200, b'"blue"')

    asyncio.run(play())


def test_more_load_brings_more_instances(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            await it.endpoint()
            slow = says("slow", "import time").replace("    return", "    time.sleep(0.3)\n    return")
            await it.deploy("blue", slow, min_instances=1, max_instances=3, concurrency=1)
            await it.traffic({"blue": 100})
            settings = replace(it.app.supervisor.fleets["shop", "blue"].lane.settings, queue_wait=20.0)
            it.app.supervisor.fleets["shop", "blue"].lane.change(settings)
            found = await asyncio.gather(*(it.ask() for _ in range(12)))
            assert {status for status, _ in found} == {200}
            assert it.status("blue")["instances_wanted"] == 3

    asyncio.run(play())


def test_a_deployment_that_goes_answers_what_it_has(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            await it.endpoint()
            slow = says("slow", "import time").replace("    return", "    time.sleep(0.5)\n    return")
            await it.deploy("blue", slow)
            asked = asyncio.create_task(it.ask(azureml_model_deployment="blue"))
            await it.until(lambda: it.status("blue")["in_flight"] == 1, "the request is on its way")
            pid = it.status("blue")["instances"][0]["pid"]
            known = pids.identity(pid)
            assert known is not None
            await asyncio.to_thread(it.store.delete_deployment, "shop", "blue")
            await it.app.reload()
            assert (await it.ask(azureml_model_deployment="blue"))[0] == 404
            assert await asked == (200, b'"slow"')
            await it.until(lambda: not pids.is_running(pid, known), "its process has ended")

    asyncio.run(play())


def test_too_much_memory_ends_an_instance(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            await it.endpoint()
            hungry = says("fat", "held = bytearray(600_000_000)\nheld[::4096] = b'x' * len(held[::4096])")
            await it.deploy("blue", hungry, wait=False, memory_limit=300_000_000)
            await it.until(lambda: it.status("blue")["failures"] >= 1, "it was ended")
            assert "more than its limit of 300 MB" in it.status("blue")["message"]

    asyncio.run(play())


def test_what_an_instance_started_ends_with_it(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            await it.endpoint()
            await it.deploy(
                "blue", says("x", "import subprocess\nchild = subprocess.Popen(['sleep', '600'])\nprint(child.pid)")
            )
            log = log_folder(it.app.places.home, "shop", "blue") / "0.log"
            pid = int(log.read_text().split()[0])
            known = pids.identity(pid)
            assert known is not None
            it.kill("blue")
            await it.until(lambda: not pids.is_running(pid, known), "its child has ended")

    asyncio.run(play())


def test_an_instance_that_hangs_is_replaced(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            await it.endpoint()
            flag = tmp_path / "hung"
            hangs = f"""
import pathlib, time
def init(): ...
def run(raw):
    if not pathlib.Path({str(flag)!r}).exists():
        time.sleep(600)
    return "well"
"""
            await it.deploy("blue", hangs, timeout=0.05, concurrency=20)
            await it.traffic({"blue": 100})
            found = await asyncio.gather(*(it.ask() for _ in range(10)))
            assert {status for status, _ in found} == {408}
            flag.touch()
            await it.until(lambda: "in time" in it.status("blue")["message"], "it was given up")
            await it.until(lambda: it.status("blue")["state"] == "Ready", "another one is ready")

    asyncio.run(play())


def test_a_long_line_of_the_log_is_cut_in_the_status_and_whole_in_the_log(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            await it.endpoint()
            await it.deploy("blue", "print('x' * 20_000)\nraise SystemExit(7)", wait=False)
            await it.until(lambda: it.status("blue")["failures"] >= 1, "it has failed")
            status = it.status("blue")
            assert f"{'x' * 1000}… (19,000 more characters)" in status["log"]
            assert "x" * 20_000 in tail(log_folder(it.app.places.home, "shop", "blue") / "0.log", 20)

    asyncio.run(play())


def test_what_cannot_be_reached_for_a_moment_is_used_again(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            await it.endpoint()
            await it.deploy("blue", says("blue"))
            await it.traffic({"blue": 100})
            (child,) = it.app.supervisor.fleets["shop", "blue"].children
            child.instance.hang_up()
            away = child.launch.socket.rename(tmp_path / "away")
            asked = asyncio.create_task(it.ask())
            await it.until(lambda: it.status("blue")["instances"][0]["phase"] == "unready", "it is missed")
            await asyncio.sleep(0.1)  # it is asked how it is, in vain
            away.rename(child.launch.socket)
            async with asyncio.timeout(10):
                assert await asked == (200, b'"blue"')
            assert it.status("blue")["instances"][0]["pid"] == child.pid

    asyncio.run(play())


def test_other_probes_count_for_instances_that_run(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            await it.endpoint()
            known = await it.deploy("blue", says("blue"))
            (child,) = it.app.supervisor.fleets["shop", "blue"].children
            spec = replace(known.spec, liveness=Probe(initial_delay=0.0, period=0.1, failure=2))
            await asyncio.to_thread(it.store.put, replace(known, spec=spec))
            await it.app.reload()
            assert it.status("blue")["instances"][0]["pid"] == child.pid
            child.launch.socket.unlink()
            await it.until(lambda: "failed 2 liveness probes" in it.status("blue")["message"], "it was ended")
            await it.until(lambda: it.status("blue")["state"] == "Ready", "another one is ready")

    asyncio.run(play())


def test_instances_that_fail_together_are_one_failure(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            await it.endpoint()
            await it.deploy("blue", "raise SystemExit(7)", wait=False, instances=4)
            found = []

            def all_have_failed() -> bool:
                found.append((it.app.gateway.figures.restarts["shop", "blue"], it.status("blue")["failures"]))
                return found[-1][0] >= 4

            await it.until(all_have_failed, "all have failed")
            assert (4, 1) in found

    asyncio.run(play())


def test_what_would_help_an_instance_to_be_started_is_told(tmp_path: Path) -> None:
    async def play() -> None:
        async with world(tmp_path) as it:
            await it.endpoint()
            await it.deploy("blue", says("blue"), wait=False, environment=EnvironmentSpec(curated="my-env"))
            await it.until(lambda: it.status("blue")["failures"], "it has failed")
            assert "'my-env' is not known here (give a conda_file, or a name" in it.status("blue")["message"]

    asyncio.run(play())


def test_what_cannot_be_started_for_a_reason_of_ours_waits_before_it_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def odd(*_: object) -> Path:
        tried.append("")
        raise LookupError("something odd")

    monkeypatch.setattr("serve.environments.build.Environments.make", odd)

    async def play() -> None:
        async with world(tmp_path) as it:
            await it.endpoint()
            await it.deploy("blue", says("blue"), wait=False)
            await it.until(lambda: it.status("blue")["failures"] >= 2, "it has failed twice")
            assert "could not be started: LookupError: something odd." in it.status("blue")["message"]
            assert len(tried) <= 3

    asyncio.run(play())
