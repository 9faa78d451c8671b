"""Random operations from two processes, and from outside, against a model; the engine's own list is the judge."""

from __future__ import annotations

import asyncio
import json
import os
import random
from typing import Any

WORKER = """
import asyncio, json, sys
from kosuke_docker import DockerService

async def one(service, operation, project):
    if operation == "start":
        return await service.start_preview(project)
    if operation == "restart":
        return await service.restart_preview(project)
    if operation == "stop":
        return await service.stop_preview(project)
    if operation == "list":
        return sorted([preview.project_id, preview.running] for preview in await service.list_previews())
    if operation == "running":
        return await service.is_container_running(project)
    preview = await service.get_preview(project)
    return None if preview is None else preview.model_dump(mode="json")

async def main():
    service = DockerService()
    lines = asyncio.Queue()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, lambda: lines.put_nowait(sys.stdin.buffer.raw.read(65536)))
    tasks, rest = set(), b""

    async def answer(number, operation, project):
        try:
            told = {"value": await one(service, operation, project)}
        except Exception as error:
            told = {"error": repr(error)}
        print(json.dumps({"number": number, **told}), flush=True)

    print("ready", flush=True)
    while chunk := await lines.get():
        *whole, rest = (rest + chunk).split(b"\\n")
        for line in whole:
            task = asyncio.create_task(answer(*json.loads(line)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

asyncio.run(main())
"""

PROJECTS = (1, 2, 3, 4)
OURS = ("start", "stop", "restart", "status", "running")
OUTSIDE = ("kill", "remove", "pause", "unpause")
RUNNING = {"starting", "compiling", "ready", "unresponsive"}


class Worker:
    """A process with a service, which does what it is told."""

    def __init__(self, process: Any) -> None:
        self._process = process
        self._number = 0
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while line := await asyncio.to_thread(self._process.stdout.readline):
            if line == "ready\n":
                continue
            told = json.loads(line)
            self._waiting.pop(told["number"]).set_result(told)
        for future in self._waiting.values():
            future.set_result({"error": "the worker ended"})

    async def do(self, operation: str, project: int) -> Any:
        self._number += 1
        future = self._waiting[self._number] = asyncio.get_running_loop().create_future()
        self._process.stdin.write(json.dumps([self._number, operation, project]) + "\n")
        self._process.stdin.flush()
        told = await asyncio.wait_for(future, 60)
        assert "error" not in told, told
        return told["value"]

    async def end(self) -> None:
        self._process.stdin.close()
        await self._reading
        assert await asyncio.to_thread(self._process.wait, 20) == 0
        assert self._process.stderr.read() == ""


class Model:
    """What is there after each operation: absent, running, paused or exited."""

    def __init__(self, world: Any, workers: list[Worker]) -> None:
        self.state: dict[int, str] = dict.fromkeys(PROJECTS, "absent")
        self.done: list[str] = []
        self._world = world
        self._workers = workers

    async def step(self, chance: random.Random, project: int) -> None:
        before = self.state[project]
        possible = [*OURS, *OURS]
        possible += [one for one in OUTSIDE if self._may(one, before)]
        operation, worker = chance.choice(possible), chance.choice(self._workers)
        self.done.append(f"{self._workers.index(worker)}:{operation}({project}) of {before}")
        if operation in OUTSIDE:
            await asyncio.to_thread(self._outside, operation, project)
            return
        told = await worker.do(operation, project)
        if operation == "stop":
            self.state[project] = "absent"
        elif operation == "status":
            self._check_status(before, told)
        elif operation == "running":
            assert told is (before in ("running", "paused")), (before, told)
        else:
            # A paused one is adopted by a start as it is, and woken by a restart.
            self.state[project] = "paused" if (operation, before) == ("start", "paused") else "running"
            published = await asyncio.to_thread(self._published, project)
            assert told == f"http://localhost:{published}"

    @staticmethod
    def _may(operation: str, state: str) -> bool:
        return {
            "kill": state == "running",
            "remove": state != "absent",
            "pause": state == "running",
            "unpause": state == "paused",
        }[operation]

    def _outside(self, operation: str, project: int) -> None:
        container = self._world.container(project)
        if operation == "kill":
            container.kill()
            container.wait()
            self.state[project] = "exited"
        elif operation == "remove":
            container.remove(force=True)
            self.state[project] = "absent"
        elif operation == "pause":
            container.pause()
            self.state[project] = "paused"
        else:
            container.unpause()
            self.state[project] = "running"

    def _published(self, project: int) -> str:
        ports = self._world.container(project).attrs["NetworkSettings"]["Ports"]["3000/tcp"]
        return str(ports[0]["HostPort"])

    @staticmethod
    def _check_status(state: str, told: Any) -> None:
        if state == "absent":
            assert told is None, told
            return
        assert told is not None, state
        assert told["running"] is (state != "exited"), told
        expected = {"running": RUNNING, "paused": {"paused"}, "exited": {"exited"}}[state]
        assert told["phase"] in expected, (state, told)
        if state == "exited":
            assert told["exit_code"] == 137, told

    async def check(self) -> None:
        """Engine, model and both processes agree."""
        there = {container.name: container.status for container in await asyncio.to_thread(self._world.containers)}
        expected = {f"{self._world.prefix}{project}": state for project, state in self.state.items()}
        assert there == {name: state for name, state in expected.items() if state != "absent"}
        known = [[project, state != "exited"] for project, state in sorted(self.state.items()) if state != "absent"]
        for worker in self._workers:
            assert await worker.do("list", 0) == known


async def test_random_operations_of_two_processes_agree_with_the_model(world: Any, run_python: Any, count: Any) -> None:
    seed = int(os.environ.get("KOSUKE_SEED") or random.randrange(2**32))
    # Shown when the test fails; KOSUKE_SEED repeats it.
    print(f"KOSUKE_SEED={seed}")
    chance = random.Random(seed)
    for project in PROJECTS:
        world.project(project)
    workers = [Worker(run_python(WORKER, world.settings())) for _ in range(2)]
    model = Model(world, workers)
    try:
        for _ in range(max(1, count(500) // len(PROJECTS))):
            # Side by side for different previews; one after the other for each, so that the model knows what comes.
            await asyncio.gather(*(model.step(chance, project) for project in PROJECTS))
            await model.check()
    except BaseException:
        print("\n".join(model.done[-40:]))
        raise
    for worker in workers:
        await worker.end()
