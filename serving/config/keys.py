"""API keys: the entries of `api.keys`, and of the file that `api.keys_file` names."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, SecretStr, TypeAdapter, ValidationError, model_validator

from saccade.serving.config.section import Section

TENANT = r"^[A-Za-z0-9_.-]{1,64}$"


class ApiKey(Section):
    """One key and the tenant it stands for."""

    key: SecretStr | None = Field(
        default=None, description="The bearer token itself; or give its digest.", min_length=8
    )
    sha256: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")] | None = Field(
        default=None,
        description="SHA-256 of the bearer token, in hexadecimal; `saccade keys create` makes one.",
    )
    tenant: str = Field(
        description="Who pays; caches are never shared between tenants.",
        pattern=TENANT,
    )
    max_running: int | None = Field(
        default=None,
        ge=1,
        description="Answers of the tenant at once, waiting ones included; more get 429. Null: "
        "api.max_running_per_tenant.",
    )

    @model_validator(mode="after")
    def _one_form(self) -> "ApiKey":
        if (self.key is None) == (self.sha256 is None):
            raise ValueError("give either `key` or `sha256`, the key's digest")
        return self

    @property
    def digest(self) -> bytes:
        """All that is compared, and kept after start."""
        if self.sha256 is not None:
            return bytes.fromhex(self.sha256)
        assert self.key is not None
        return hashlib.sha256(self.key.get_secret_value().encode()).digest()


class KeysFileError(Exception):
    """The file of keys cannot be used; the message has no key in it."""


def check_keys(keys: Sequence[ApiKey]) -> None:
    """Raises `ValueError` when entries contradict each other."""
    if len({entry.digest for entry in keys}) != len(keys):
        raise ValueError("keys: the same key stands for two tenants; give each its own")
    limits: dict[str, int | None] = {}
    for entry in keys:
        if limits.setdefault(entry.tenant, entry.max_running) != entry.max_running:
            raise ValueError(
                f"keys: tenant {entry.tenant} has keys with different `max_running`; the limit is "
                "the tenant's, so give them the same"
            )


def parse_keys(text: str, path: Path) -> list[ApiKey]:
    """The entries of a file: a list in YAML or JSON.

    Raises:
        KeysFileError: with the place of what is wrong.
    """
    try:
        values = yaml.safe_load(text)
        keys = TypeAdapter(list[ApiKey]).validate_python([] if values is None else values)
        check_keys(keys)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise KeysFileError(f"{path}{where}: not valid YAML") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise KeysFileError(f"{path}: {place or 'the file'}: {message}") from None
    except ValueError as error:
        raise KeysFileError(f"{path}: {error}") from None
    return keys
