"""The adapter that makes a docker-py-compatible client an engine. The core calls it off the event loop."""

from __future__ import annotations

import os
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from kosuke_docker import _core

_USUAL_ADDRESS = "unix:///var/run/docker.sock"
_GONE = object()
"""In place of a container that the client says is gone."""


class CallFailedError(Exception):
    """A call of the client failed. ``kind`` is the native core's name for how."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def _translate(error: Exception) -> CallFailedError:
    # By the class's name: docker-py need not be installed, and podman-py uses the same names.
    names = {cls.__name__ for cls in type(error).__mro__}
    text = str(error)
    if "ImageNotFound" in names:
        return CallFailedError("image", text)
    if "NotFound" in names:
        return CallFailedError("not_found", text)
    if "port is already allocated" in text or "address already in use" in text:
        return CallFailedError("port", text)
    if getattr(error, "status_code", None) == HTTPStatus.CONFLICT:
        return CallFailedError("conflict", text)
    # docker-py's APIError is an OSError too (through requests.HTTPError), but there the engine did answer.
    if isinstance(error, OSError) and "APIError" not in names:
        return CallFailedError("unreachable", text)
    return CallFailedError("refused", text or type(error).__name__)


class ClientEngine:
    """The calls that the core makes, on a docker-py-compatible client.

    What the client answers is taken only where it is a real ``str``, ``int`` or ``dict``: mocks have truthy attributes.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        # The client's last object per container: one `get` serves a whole operation.
        self._found: dict[str, Any] = {}

    def known(self, container_id: str) -> Any:
        """The client's last object for a container, else the id."""
        return self._found.get(container_id, container_id)

    def ping(self) -> None:
        """Raises ``CallFailedError`` unless the engine answers."""
        try:
            self._client.ping()
        except Exception as error:
            raise _translate(error) from error

    def get(self, name_or_id: str) -> dict[str, Any]:
        """The container of this name or id."""
        try:
            return self._known(self._client.containers.get(name_or_id), name_or_id)
        except Exception as error:
            raise _translate(error) from error

    def owned(self, owner: str) -> list[dict[str, Any]]:
        """The containers with our labels of this owner."""
        filters = {"label": ["kosuke.preview", f"kosuke.owner={owner}"]}
        try:
            found = self._client.containers.list(all=True, filters=filters)
        except Exception as error:
            raise _translate(error) from error
        return [self._known(container, "") for container in found] if isinstance(found, list) else []

    def run(
        self,
        *,
        image: str,
        name: str,
        command: list[str],
        inside: int,
        port: int,
        folder: str,
        environment: dict[str, str],
        network: str,
    ) -> str:
        """Creates and starts a container with the older service's keywords; returns its id."""
        try:
            container = self._client.containers.run(
                image=image,
                name=name,
                command=command,
                ports={f"{inside}/tcp": port},
                volumes={folder: {"bind": "/app", "mode": "rw"}},
                working_dir="/app",
                environment=environment,
                network=network,
                detach=True,
                auto_remove=False,
            )
        except Exception as error:
            raise _translate(error) from error
        container_id: str = self._known(container, name)["id"]
        return container_id

    def stop(self, container_id: str, seconds: int) -> None:
        """Stops the container."""
        try:
            container = self._client.containers.get(container_id)
            self._found[container_id] = container
            container.stop(timeout=seconds)
        except Exception as error:
            failure = _translate(error)
            if failure.kind == "not_found":
                self._found[container_id] = _GONE
            raise failure from error

    def remove(self, container_id: str) -> None:
        """Removes the container, by the client's last object for this id."""
        try:
            container = self._found.pop(container_id, None)
            if container is None:
                container = self._client.containers.get(container_id)
            if container is not _GONE:
                container.remove(force=True)
        except Exception as error:
            raise _translate(error) from error

    def open_logs(self, container_id: str, follow: bool, tail: int | None) -> Iterable[bytes]:
        """The container's output: the last ``tail`` lines, None for all, and with ``follow`` what comes."""
        try:
            container = self._found.get(container_id)
            if container is None:
                container = self._client.containers.get(container_id)
            if follow and tail is None:
                chunks = open_logs(container)
            else:
                chunks = container.logs(stream=True, follow=follow, tail="all" if tail is None else tail)
        except Exception as error:
            raise _translate(error) from error
        return chunks

    def _known(self, container: Any, name: str) -> dict[str, Any]:
        container_id = _text(getattr(container, "id", None)) or name
        self._found[container_id] = container
        labels = getattr(container, "labels", None)
        return {
            "id": container_id,
            "name": _text(getattr(container, "name", None)) or name,
            "status": _text(getattr(container, "status", None)),
            "labels": _texts(labels) if isinstance(labels, dict) else {},
            "ports": _ports(getattr(container, "ports", None)),
        }


def options_of_docker_py() -> dict[str, Any]:
    """What leads ``docker.from_env`` to the core's engine: it knows ``DOCKER_HOST``, and no contexts."""
    address = _core.engine_address()
    if os.environ.get("DOCKER_HOST") or address == _USUAL_ADDRESS:
        return {}
    scheme, _, rest = address.partition("://")
    named = {"DOCKER_HOST": address}
    if scheme == "https":
        authority, _, folder = rest.partition(" ")
        named = {"DOCKER_HOST": f"tcp://{authority}", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": folder}
    return {"environment": {**os.environ, **named}} if scheme in ("unix", "tcp", "https") else {}


def open_logs(container: Any) -> Iterable[bytes]:
    """The output of a docker-py-compatible container, as it comes."""
    chunks: Iterable[bytes] = container.logs(stream=True, follow=True)
    return chunks


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _texts(values: dict[object, object]) -> dict[str, str]:
    return {name: text for name, text in values.items() if isinstance(name, str) and isinstance(text, str)}


def _ports(ports: object) -> dict[int, int]:
    """``{"3000/tcp": [{"HostPort": "3001"}]}`` as inside -> host."""
    found: dict[int, int] = {}
    if isinstance(ports, dict):
        for inside, bindings in ports.items():
            number, _, protocol = inside.partition("/") if isinstance(inside, str) else ("", "", "")
            if protocol == "tcp" and number.isdigit() and isinstance(bindings, list) and bindings:
                outside = bindings[0].get("HostPort") if isinstance(bindings[0], dict) else None
                if isinstance(outside, (str, int)) and not isinstance(outside, bool) and str(outside).isdigit():
                    found[int(number)] = int(outside)
    return found
