"""Where settings come from: what is given, then the environment. And how a wrong one is told, in one exception."""

from __future__ import annotations

import contextlib
import difflib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Self

from pydantic import BaseModel, SecretStr, ValidationError

from kosuke_docker import _core
from kosuke_docker.errors import SettingsError

logger = logging.getLogger("kosuke_docker.settings")

_URL = "preview_postgres_url"
_PARTS = ("postgres_host", "postgres_port", "postgres_user", "postgres_password", "postgres_db")
_LONGEST = 80
"""Characters of a value that a message shows."""
_ALIKE = 0.75
"""From which ratio of difflib on two words count as one that was misspelt."""
_COMMON = frozenset({"URL", "HOST", "PATH", "TOKEN"})
"""Words of other software's variables: ``PREVIEW_URL`` is a hosting firm's."""


class FromEnvironment(BaseModel):
    """A model that reads what it is not given from the environment. A wrong value is a ``SettingsError``."""

    def __init__(self, **values: Any) -> None:
        found = found_in(type(self), os.environ)
        if any(name in values for name in _PARTS):
            # The URL would win over the parts, and with it the environment over what is given.
            found = tuple((name, text) for name, text in found if name != _URL)
        _fill(self, {**values_of(found), **values})

    @classmethod
    def exactly(cls, values: Mapping[str, Any]) -> Self:
        """Of these values and defaults: the environment is not read."""
        made = cls.__new__(cls)
        _fill(made, dict(values))
        return made

    @classmethod
    def model_validate(cls, *args: Any, **options: Any) -> Self:
        """As pydantic's; a wrong value is a ``SettingsError``."""
        with _one_exception(cls, {}):
            return super().model_validate(*args, **options)

    @classmethod
    def model_validate_json(cls, *args: Any, **options: Any) -> Self:
        """As pydantic's; a wrong value is a ``SettingsError``."""
        with _one_exception(cls, {}):
            return super().model_validate_json(*args, **options)


def found_in(model: type[BaseModel], environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The variables of the fields, as pairs of a field's name and a text. What looks misspelt is logged, once."""
    fields, prefixes = _variables(model), _prefixes(model)
    found = []
    # One pass: a service is made for each request, and each look-up in os.environ encodes a name.
    for variable in environ:
        if variable.startswith(prefixes):
            name = fields.get(variable)
            if name is not None:
                found.append((name, environ[variable]))
            else:
                _tell_if_misspelt(model, variable)
    return tuple(found)


def values_of(found: Iterable[tuple[str, str]]) -> dict[str, object]:
    """What the texts mean. An empty one counts as not set, except ``POSTGRES_HOST``: empty means no databases."""
    values: dict[str, object] = {}
    for name, text in found:
        if text or name == "postgres_host":
            values[name] = argv(text) if name == "preview_command" else text
    return values


def argv(text: str) -> str | list[str]:
    """A JSON list is argv; anything else is a shell line (``[ -f x ] && y`` is one)."""
    if text.lstrip().startswith("["):
        try:
            words = json.loads(text)
        except ValueError:
            return text
        if isinstance(words, list) and all(isinstance(word, str) for word in words):
            return words
    return text


def attributes_of(model: type[BaseModel], source: object) -> dict[str, Any]:
    """The settings that an object has as attributes, named like a field or like its environment variable."""
    values: dict[str, Any] = {}
    for name in model.model_fields:
        for spelling in (name, name.upper()):
            if hasattr(source, spelling):
                values[name] = getattr(source, spelling)
                break
    if not values:
        fix = "use Settings(**values)" if isinstance(source, Mapping) else "use Settings(preview_port=...)"
        raise SettingsError(
            f"settings: must be a Settings, or an object with some of its fields as attributes; this "
            f"{type(source).__name__} has none of them: {fix}",
            operation="configure",
            field="settings",
        )
    return values


def _fill(instance: BaseModel, values: dict[str, Any]) -> None:
    with _one_exception(type(instance), values):
        BaseModel.__init__(instance, **values)


@contextlib.contextmanager
def _one_exception(model: type[BaseModel], values: Mapping[str, Any]) -> Iterator[None]:
    """A wrong value is a ``SettingsError``, whoever finds it."""
    try:
        yield
    except ValidationError as error:
        raise _settings_error(model, error, values) from None


def _settings_error(model: type[BaseModel], error: ValidationError, values: Mapping[str, Any]) -> SettingsError:
    first = error.errors(include_url=False, include_input=False)[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, SettingsError) and not values:
        return cause  # It came through pydantic, and says all already.
    if isinstance(cause, SettingsError):
        field, problem = cause.field, str(cause).partition(": ")[2]
    else:
        field = str(first["loc"][0]) if first["loc"] else ""
        problem = _core.setting_rule(field) or _problem(model, field, first["type"], first["msg"], first.get("ctx", {}))
    if field not in model.model_fields:
        named = field or "settings"
    else:
        named = f"{field} ({field.upper()})"
        shown = _shown(model, field, values.get(field, model.model_fields[field].default))
        named = f"{named} is {shown}" if shown else named
    return SettingsError(f"{named}: {problem}", operation="configure", field=field or "settings")


def _problem(model: type[BaseModel], field: str, kind: str, message: str, context: Mapping[str, Any]) -> str:
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(field, model.model_fields, 1)
        return f"there is no such setting; did you mean {near[0]}?" if near else "there is no such setting"
    if kind.startswith("bool"):
        return "must be true or false"
    if kind == "literal_error":
        return f"must be {context['expected']}"
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    kinds = {"string_type": "must be a text", "list_type": "must be a list of texts"}
    return kinds.get(kind, message[:1].lower() + message[1:])


def _shown(model: type[BaseModel], field: str, value: object) -> str:
    """The value for a message, empty where it may hold a secret."""
    if SecretStr.__name__ in str(model.model_fields[field].annotation):
        return ""
    if not (value is None or isinstance(value, (str, int, float))):
        return f"a {type(value).__name__}"
    if isinstance(value, str) and "@" in value:
        return ""  # A URL with a password, in the wrong place.
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


@lru_cache
def _variables(model: type[BaseModel]) -> dict[str, str]:
    """The fields by their environment variables."""
    return {name.upper(): name for name in model.model_fields}


@lru_cache
def _prefixes(model: type[BaseModel]) -> tuple[str, ...]:
    """``PREVIEW_``, ``POSTGRES_``, ...: what variables of ours begin with."""
    return tuple({f"{name.upper().partition('_')[0]}_" for name in model.model_fields})


@lru_cache(maxsize=1024)
def _tell_if_misspelt(model: type[BaseModel], variable: str) -> None:
    """Logs it, once: the next call for the same name is answered by the cache."""
    likely = _likely(variable, _variables(model))
    if likely is not None:
        logger.warning("%s in the environment is no setting, and is not used: did you mean %s?", variable, likely)


def _likely(variable: str, known: Iterable[str]) -> str | None:
    """The variable that this one looks like, None where it looks like none."""
    best, best_score = None, 0.0
    for name in known:
        score = _likeness(variable.split("_"), name.split("_"))
        if score > best_score:
            best, best_score = name, score
    return best


def _likeness(given: list[str], name: list[str]) -> float:
    """How much a variable looks like a setting: 0 unless each of its words is like one of the setting's, in order."""
    if given[0] != name[0] or len(given) < 2:  # noqa: PLR2004 - a word behind the prefix
        return 0.0
    short = len(name) - len(given)
    # One word may be left out (PREVIEW_IMAGE), but not of those that others use by themselves.
    if short not in (0, 1) or (short == 1 and (given[0] != "PREVIEW" or _COMMON & set(given))):
        return 0.0
    ratios = []
    rest = iter(name)
    for word in given:
        ratio = next((ratio for other in rest if (ratio := _ratio(word, other)) >= _ALIKE), 0.0)
        if ratio == 0.0:
            return 0.0
        ratios.append(ratio)
    return sum(ratios) / len(ratios) - short * 0.1


def _ratio(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()
