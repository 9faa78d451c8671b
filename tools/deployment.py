"""Images for a deployment like the agent's: Python with this environment's packages, and Postgres."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import archive
import docker
import kosuke_docker
import services

AGENT = "kosuke-docker-test-agent:latest"
POSTGRES = "kosuke-docker-test-postgres:latest"
LEFT_OUT = ("__pycache__", "test", "tests", "idlelib", "tkinter", "ensurepip", "lib2to3")


def agent_image(client: docker.DockerClient) -> str:
    """Python at its own path, and this environment's packages in /site. Built each time, as it holds our wheel."""
    python = Path(sys.executable).resolve()
    standard = Path(sysconfig.get_path("stdlib"))
    packages = Path(sysconfig.get_path("purelib"))
    ours = Path(kosuke_docker.__file__).parent

    def fill(root: archive.Archive) -> None:
        root.shell()
        root.add(python, str(python))
        root.link("/usr/local/bin/python", str(python))
        root.add(standard, str(standard), (*LEFT_OUT, "site-packages", "dist-packages"))
        root.add(packages, "/site", (*LEFT_OUT, "pip", "hypothesis", "mypy", "ruff", "uvloop", "kosuke_docker"))
        root.add(ours, "/site/kosuke_docker", ("__pycache__",))
        extensions = [*standard.glob("lib-dynload/*.so"), *packages.rglob("*.so"), *ours.glob("*.so")]
        root.libraries(python, *extensions)

    return archive.make(
        client, AGENT, fill, "ENV PATH=/usr/local/bin:/usr/bin:/bin PYTHONPATH=/site PYTHONUNBUFFERED=1"
    )


def postgres_image(client: docker.DockerClient) -> str:
    """This machine's Postgres. Runs with: sh /start.sh, and POSTGRES_PASSWORD in the environment."""
    programs = services.postgres_programs()
    version = programs.parent.name
    start = "\n".join(
        [
            'printf %s "$POSTGRES_PASSWORD" > /tmp/password',
            f"{programs}/initdb -D /data/db -U postgres -A scram-sha-256 --pwfile=/tmp/password --locale=C --no-sync",
            "echo 'host all all all scram-sha-256' >> /data/db/pg_hba.conf",
            f"exec {programs}/postgres -D /data/db -h '*' -k /tmp -c fsync=off",
        ]
    )

    def fill(root: archive.Archive) -> None:
        root.shell()
        root.folder("data", 0o700, 999)
        root.text("/start.sh", start)
        for program in ("postgres", "initdb"):
            root.add(programs / program, str(programs / program))
        library = programs.parent / "lib"
        root.add(library, str(library), ("bitcode", "llvmjit.so", "llvmjit_types.bc"))
        share = Path("/usr/share/postgresql") / version
        root.add(share, str(share), ("man", "extension_docs"))
        root.add(Path("/usr/share/zoneinfo"), "/usr/share/zoneinfo")
        root.libraries(programs / "postgres", programs / "initdb", library / "plpgsql.so", library / "dict_snowball.so")

    return archive.make(client, POSTGRES, fill, "ENV PATH=/usr/bin:/bin", "USER 999:999")
