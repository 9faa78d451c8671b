"""``DockerService.containers``: a mapping over the core's cache."""

from __future__ import annotations

import json
from collections.abc import Iterator, MutableMapping
from typing import Any

from kosuke_docker._core import Core
from kosuke_docker.models import ContainerInfo


class Containers(MutableMapping[int, ContainerInfo]):
    """The cache of one core. Values are stable objects, updated in place; writing changes the cache only."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._infos: dict[int, ContainerInfo] = {}
        self._synced: dict[int, dict[str, Any]] = {}

    def flush(self) -> None:
        """Writes what callers changed on the values since the last read into the core's cache."""
        if not self._infos:
            return
        changed = {
            project_id: dict(info)
            for project_id, info in list(self._infos.items())
            if vars(info) != self._synced.get(project_id)
        }
        if changed:
            current = {project_id: values["container_id"] for project_id, values in self._read().items()}
            for project_id, values in changed.items():
                before, self._synced[project_id] = self._synced[project_id], values
                # A newer container keeps its values: the change was made on those of an older one.
                if current.get(project_id) == before["container_id"]:
                    self._core.put(values)

    def _read(self) -> dict[int, dict[str, Any]]:
        return {values["project_id"]: values for values in json.loads(self._core.containers())}

    def _refresh(self) -> dict[int, ContainerInfo]:
        self.flush()
        found = self._read()
        for project_id in self._infos.keys() - found.keys():
            del self._infos[project_id], self._synced[project_id]
        for project_id, values in found.items():
            info = self._infos.get(project_id)
            if info is None:
                self._infos[project_id] = ContainerInfo.model_construct(**values)
            else:
                vars(info).update(values)
            self._synced[project_id] = values
        return self._infos

    def __getitem__(self, project_id: int) -> ContainerInfo:
        return self._refresh()[project_id]

    def __setitem__(self, project_id: int, info: ContainerInfo) -> None:
        if info.project_id != project_id:
            raise ValueError(f"project_id: {info.project_id} under the key {project_id}")
        values = dict(info)
        self._core.put(values)
        self._infos[project_id] = info
        self._synced[project_id] = values

    def __delitem__(self, project_id: int) -> None:
        infos = self._refresh()
        del infos[project_id], self._synced[project_id]
        self._core.forget(project_id)

    def __iter__(self) -> Iterator[int]:
        return iter(list(self._refresh()))

    def __len__(self) -> int:
        return len(self._refresh())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict(self)!r})"
