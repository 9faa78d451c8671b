"""Where the agent really lives: in a container, with two workers, beside Postgres, the engine's socket mounted.

The agent is examples/agent under uvicorn, with the packages of this environment: the real wheel in `make test`.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import deployment
import httpx
import pytest
from attack import reached
from docker import DockerClient

ROOT = Path(__file__).resolve().parent.parent.parent
SOCKET = "/var/run/docker.sock"
PASSWORD = "compose-password"
TOKEN = "a-token-of-the-deployment"
PATIENCE = 60
ROUNDS = 40


@pytest.fixture(scope="module")
def agent_image(engine: DockerClient) -> str:
    return deployment.agent_image(engine)


@pytest.fixture(scope="module")
def postgres_image(engine: DockerClient) -> str:
    return deployment.postgres_image(engine)


class Deployment:
    """What `docker compose up` would make of the agent's file."""

    def __init__(self, world: Any, agent_image: str) -> None:
        self.world = world
        self.engine: DockerClient = world.engine
        self.project = f"{world.prefix}compose"
        self.network = self.engine.networks.create(
            f"{self.project}_default",
            labels={"com.docker.compose.project": self.project, "com.docker.compose.network": "default"},
        )
        self.workspace = world.folder / "workspace"
        (self.workspace / "projects").mkdir(parents=True)
        world.folder = self.workspace / "projects"
        shutil.copytree(ROOT / "examples" / "agent", self.workspace / "agent")
        self.agent_image = agent_image
        self.postgres: Any = None
        self.agent: Any = None

    def begin(self, image: str) -> None:
        """Starts Postgres, under the name by which the agent knows it."""
        self.postgres = self.engine.containers.create(
            image,
            ["sh", "/start.sh"],
            environment={"POSTGRES_PASSWORD": PASSWORD},
            ports={"5432/tcp": ("127.0.0.1", 0)},
            name=f"{self.project}-postgres",
        )
        self.network.connect(self.postgres, aliases=["postgres"])
        self.postgres.start()

    def settings(self, **changes: str) -> dict[str, str]:
        plain = self.world.settings().plain()
        return {
            "PREVIEW_DEFAULT_IMAGE": plain["preview_default_image"],
            "PREVIEW_CONTAINER_NAME_PREFIX": self.world.prefix,
            "PREVIEW_COMMAND": json.dumps(plain["preview_command"]),
            "PREVIEW_NETWORK": f"{self.project}_default",
            "PREVIEW_PULL_POLICY": "never",
            "POSTGRES_PASSWORD": PASSWORD,
            "AGENT_TOKEN": TOKEN,
            **changes,
        }

    def run(self, command: list[str], **changes: Any) -> Any:
        values: dict[str, Any] = {
            "environment": self.settings(),
            "network": self.network.name,
            "volumes": {
                SOCKET: {"bind": SOCKET, "mode": "rw"},
                str(self.workspace / "agent"): {"bind": "/agent", "mode": "rw"},
                str(self.workspace / "projects"): {"bind": "/agent/projects", "mode": "rw"},
            },
            "working_dir": "/agent",
            "detach": True,
            "init": True,
            **changes,
        }
        return self.engine.containers.run(self.agent_image, command, **values)

    async def up(self) -> None:
        """Starts the agent and waits until it answers."""
        uvicorn = ["python", "-m", "uvicorn", "app:app", "--workers", "2", "--host", "0.0.0.0", "--port", "8000"]
        name = f"{self.project}-agent-{secrets.token_hex(2)}"
        self.agent = self.run(uvicorn, ports={"8000/tcp": ("127.0.0.1", None)}, name=name)
        await self.until(self.answers, self.agent)

    async def until(self, condition: Any, container: Any) -> None:
        deadline = time.monotonic() + PATIENCE
        while not await condition():
            if time.monotonic() > deadline:
                pytest.fail(f"not within {PATIENCE} s: {container.logs().decode()}")
            await asyncio.sleep(0.1)

    async def answers(self) -> bool:
        try:
            return (await self.call("GET", "/health")).status_code == 200
        except httpx.TransportError:
            return False

    async def call(self, method: str, path: str, **body: Any) -> httpx.Response:
        """One request on a connection of its own, so that either worker may take it."""
        self.agent.reload()
        [binding] = self.agent.attrs["NetworkSettings"]["Ports"]["8000/tcp"]
        base, headers = f"http://127.0.0.1:{binding['HostPort']}", {"Authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(base_url=base, headers=headers, timeout=60) as client:
            return await client.request(method, path, json=body or None)

    async def through_both_workers(self, method: str, path: str, **body: Any) -> list[httpx.Response]:
        """The same request many times at once, until either worker has answered some: the kernel chooses which."""
        answers: list[httpx.Response] = []
        for _ in range(ROUNDS):
            answers += await asyncio.gather(*(self.call(method, path, **body) for _ in range(24)))
            if len({answer.headers["x-worker"] for answer in answers}) == 2:
                return answers
        pytest.fail(f"one worker answered all of {len(answers)} requests")

    def down(self) -> None:
        for container in self.world.containers():
            container.remove(force=True, v=True)
        self.network.remove()


@pytest.fixture
async def compose(world: Any, agent_image: str, postgres_image: str) -> AsyncIterator[Deployment]:
    made = Deployment(world, agent_image)
    try:
        made.begin(postgres_image)
        yield made
    finally:
        made.down()


async def status_is_ready(compose: Deployment, project: int) -> bool:
    answer = (await compose.call("GET", f"/api/preview/status/{project}")).json()
    return bool(answer["running"] and answer["compilation_complete"] and answer["is_responding"])


async def test_previews_live_through_two_workers_and_a_new_agent(compose: Deployment) -> None:
    compose.world.project(7)
    await compose.up()
    answers = await compose.through_both_workers("POST", "/api/preview/start", project_id=7, env_vars={"MINE": "yes"})
    assert {answer.status_code for answer in answers} == {200}, answers[0].text
    [url] = {answer.json()["url"] for answer in answers}
    await compose.until(lambda: status_is_ready(compose, 7), compose.agent)

    container = compose.world.container(7)
    [mount] = [mount for mount in container.attrs["Mounts"] if mount["Destination"] == "/app"]
    assert mount["Source"] == str(compose.workspace / "projects" / "7")
    assert list(container.attrs["NetworkSettings"]["Networks"]) == [f"{compose.world.prefix.rstrip('-')}-isolated"]
    # From inside: the database by its name, and the agent at none of its addresses.
    compose.agent.reload()
    agents = [network["IPAddress"] for network in compose.agent.attrs["NetworkSettings"]["Networks"].values()]
    assert len(agents) == 2
    gateway = next(iter(container.attrs["NetworkSettings"]["Networks"].values()))["Gateway"]
    published = compose.agent.attrs["NetworkSettings"]["Ports"]["8000/tcp"][0]["HostPort"]
    targets = [("postgres", 5432), *((agent, 8000) for agent in agents), (gateway, int(published))]
    assert await reached(container, *targets) == {"postgres:5432"}
    environment = dict(line.split("=", 1) for line in container.attrs["Config"]["Env"])
    assert environment["MINE"] == "yes"
    compose.postgres.reload()
    [binding] = compose.postgres.attrs["NetworkSettings"]["Ports"]["5432/tcp"]
    database = environment["DATABASE_URL"].replace("postgres:5432", f"127.0.0.1:{binding['HostPort']}")
    connection = await asyncpg.connect(database)
    assert await connection.fetchval("SELECT current_database()") == "kosuke_project_7"
    await connection.close()

    compose.agent.kill()
    await compose.up()
    answers = await compose.through_both_workers("GET", "/api/preview/status/7")
    await compose.until(lambda: status_is_ready(compose, 7), compose.agent)
    assert {answer.json()["url"] for answer in answers} == {url}
    assert (await compose.call("POST", "/api/preview/start", project_id=7)).json() == {"url": url}
    assert compose.world.container(7).id == container.id
    preview = (await compose.call("GET", "/api/preview/7")).json()
    assert (preview["phase"], preview["database"], preview["database_isolation"]) == ("ready", "ready", "partial")

    answers = await compose.through_both_workers("POST", "/api/preview/stop", project_id=7)
    assert {answer.status_code for answer in answers} == {200}, answers[0].text
    answers = await compose.through_both_workers("GET", "/api/preview/status/7")
    assert all(answer.json()["running"] is False for answer in answers)


async def test_bad_bodies_missing_folders_and_stop_all(compose: Deployment) -> None:
    compose.world.project(1)
    compose.world.project(2)
    await compose.up()
    assert (await compose.call("POST", "/api/preview/start", project_id="x")).status_code == 422
    assert (await compose.call("POST", "/api/preview/start", project_id=-1)).status_code == 422
    missing = await compose.call("POST", "/api/preview/start", project_id=99)
    assert (missing.status_code, missing.json()["error"]) == (404, "ProjectFolderError")
    assert not (compose.workspace / "projects" / "99").exists()
    for project in (1, 2):
        assert (await compose.call("POST", "/api/preview/start", project_id=project)).status_code == 200
    assert (await compose.call("POST", "/api/preview/stop-all")).status_code == 200
    names = {container.name for container in compose.world.containers()}
    assert names == {compose.agent.name, compose.postgres.name}


async def test_docker_away_is_503(compose: Deployment) -> None:
    uvicorn = ["python", "-m", "uvicorn", "app:app", "--host", "0.0.0.0", "--port", "8000"]
    settings = compose.settings(DOCKER_HOST="unix:///nowhere.sock")
    name = f"{compose.project}-agent"
    compose.agent = compose.run(uvicorn, ports={"8000/tcp": ("127.0.0.1", None)}, environment=settings, name=name)

    async def answers() -> bool:
        try:
            return (await compose.call("GET", "/health")).status_code == 503
        except httpx.TransportError:
            return False

    await compose.until(answers, compose.agent)
    started = await compose.call("POST", "/api/preview/start", project_id=7)
    assert (started.status_code, started.json()["error"]) == (503, "DockerUnavailableError")


START = """
import asyncio, sys
from kosuke_docker import DockerService, KosukeDockerError

async def main():
    service = DockerService()
    try:
        await service.start_preview(7, wait="ready")
        print((await service.get_preview(7)).model_dump_json())
    except KosukeDockerError as error:
        print(f"{type(error).__name__}: {error}")

asyncio.run(main())
"""


async def run_start(compose: Deployment, **changes: Any) -> str:
    container = compose.run(["python", "-c", START], name=f"{compose.project}-once-{secrets.token_hex(2)}", **changes)
    result = await asyncio.to_thread(container.wait, timeout=PATIENCE)
    output = container.logs(stdout=True, stderr=False).decode().strip()
    assert result["StatusCode"] == 0, container.logs().decode()
    return str(output)


@pytest.fixture
def other_network(engine: DockerClient, world: Any) -> Iterator[str]:
    network = engine.networks.create(f"{world.prefix}other")
    yield str(network.name)
    for container in world.containers():
        container.remove(force=True)
    network.remove()


@pytest.mark.parametrize("bind", ["127.0.0.1", "0.0.0.0"])
async def test_the_probe_works_from_the_previews_network(compose: Deployment, bind: str) -> None:
    compose.world.project(7)
    preview = json.loads(await run_start(compose, environment=compose.settings(PREVIEW_BIND_ADDRESS=bind)))
    assert (preview["phase"], preview["compilation_complete"], preview["is_responding"]) == ("ready", True, True)
    assert preview["http_status"] == 200


async def test_the_probe_works_from_another_network(compose: Deployment, other_network: str) -> None:
    compose.world.project(7)
    settings = compose.settings(PREVIEW_BIND_ADDRESS="0.0.0.0", POSTGRES_HOST="")
    preview = json.loads(await run_start(compose, environment=settings, network=other_network))
    assert (preview["phase"], preview["compilation_complete"], preview["is_responding"]) == ("ready", True, True)


async def test_without_an_address_the_log_decides(compose: Deployment, other_network: str) -> None:
    """Published on the host's loopback only: no container of another network can reach it."""
    compose.world.project(7)
    settings = compose.settings(POSTGRES_HOST="", PREVIEW_NETWORK_ISOLATION="off")
    preview = json.loads(await run_start(compose, environment=settings, network=other_network))
    assert (preview["phase"], preview["compilation_complete"], preview["is_responding"]) == ("ready", True, False)
    assert "the log alone decides" in preview["detail"]


async def test_the_probe_works_with_the_hosts_network(compose: Deployment) -> None:
    compose.world.project(7)
    preview = json.loads(await run_start(compose, environment=compose.settings(POSTGRES_HOST=""), network="host"))
    assert (preview["phase"], preview["is_responding"]) == ("ready", True)


async def test_folders_in_a_volume_are_found(compose: Deployment) -> None:
    volume = compose.engine.volumes.create(f"{compose.project}-projects")
    try:
        mounts = {SOCKET: {"bind": SOCKET, "mode": "rw"}, volume.name: {"bind": "/data", "mode": "rw"}}
        script = (ROOT / "tests" / "apps" / "dev.js").read_text()
        folder = "import pathlib; p = pathlib.Path('/data/projects/7'); p.mkdir(parents=True)"
        write = f"{folder}; (p / 'dev.js').write_text({script!r})"
        compose.run(["python", "-c", write], volumes=mounts, detach=False, name=f"{compose.project}-write")
        settings = compose.settings(PROJECTS_DIR="/data/projects")
        preview = json.loads(await run_start(compose, volumes=mounts, environment=settings))
        assert preview["phase"] == "ready"
        [mount] = compose.world.container(7).attrs["Mounts"]
        assert mount["Source"] == f"{volume.attrs['Mountpoint']}/projects/7"
    finally:
        for container in compose.world.containers():
            container.remove(force=True)
        volume.remove()


async def test_a_symlinked_projects_folder_is_followed(compose: Deployment) -> None:
    compose.world.project(7)
    (compose.workspace / "agent" / "link").symlink_to("/agent/projects")
    preview = json.loads(await run_start(compose, environment=compose.settings(PROJECTS_DIR="/agent/link")))
    assert preview["phase"] == "ready"
    [mount] = compose.world.container(7).attrs["Mounts"]
    assert mount["Source"] == str(compose.workspace / "projects" / "7")


async def test_a_folder_that_is_not_on_the_host_is_an_error(compose: Deployment) -> None:
    settings = compose.settings(PROJECTS_DIR="/tmp/projects")
    script = f"import pathlib; pathlib.Path('/tmp/projects/7').mkdir(parents=True)\n{START}"
    name = f"{compose.project}-once"
    container = compose.run(["python", "-c", script], environment=settings, name=name)
    await asyncio.to_thread(container.wait, timeout=PATIENCE)
    output = container.logs(stdout=True, stderr=False).decode()
    assert output.startswith("ProjectFolderError"), output
    assert "HOST_WORKSPACE_DIR" in output
    assert not [found for found in compose.world.containers() if found.name == f"{compose.world.prefix}7"]


async def test_the_workspace_that_is_set_wins(compose: Deployment) -> None:
    compose.world.project(7)
    elsewhere = compose.workspace.parent / "elsewhere"
    shutil.copytree(compose.workspace, elsewhere)
    settings = compose.settings(HOST_WORKSPACE_DIR=str(elsewhere))
    preview = json.loads(await run_start(compose, environment=settings))
    assert preview["phase"] == "ready"
    [mount] = compose.world.container(7).attrs["Mounts"]
    assert mount["Source"] == str(elsewhere / "projects" / "7")
