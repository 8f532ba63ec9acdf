"""A customer's own settings: the YAML file of `upstream customers configure`.

Not here: what the parts mean (claims/mapping.py, drift/settings.py, delivery/channels.py, alerts/rules.py).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from upstream_pipelines.alerts.rules import AlertRule
from upstream_pipelines.claims.fields import FIELDS
from upstream_pipelines.claims.mapping import ClaimMapping
from upstream_pipelines.delivery.channels import Channel
from upstream_pipelines.drift.settings import DriftSettings
from upstream_pipelines.errors import ConfigurationError
from upstream_pipelines.quality.rules import NEVER_ERRORS

_MAPPING_KEYS = frozenset(ClaimMapping.model_fields)


class CustomerConfiguration(BaseModel):
    """What is stored for a customer. Channels and alert rules are rows of their own tables."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mapping: ClaimMapping = ClaimMapping()
    drift: DriftSettings = DriftSettings()
    cadence_days: Annotated[int, Field(ge=1, le=366)] | None = None

    def reading_sha256(self) -> bytes:
        """Digest of what decides how a file is read: the same bytes under another mapping are read again."""
        reading = self.mapping.model_dump(mode="json", exclude={"payer_aliases", "cpt_groups"})
        # What is told of rows that are stored already decides nothing about reading them.
        reading["quality"] = {
            name: grade for name, grade in reading["quality"].items() if name not in NEVER_ERRORS
        }
        return _digest(reading)

    def naming_sha256(self) -> bytes:
        """Digest of the aliases and groups: when it changes they are applied to the stored claims again."""
        return _digest({"payer_aliases": self.mapping.payer_aliases, "cpt_groups": dict(self.mapping.groups())})


class ConfigurationFile(BaseModel):
    """A parsed YAML file: what is stored on the customer, and the channels and rules beside it.

    `channels` and `alert_rules` are None where the file does not mention them: they stay as they are.
    """

    model_config = ConfigDict(frozen=True)

    stored: CustomerConfiguration
    channels: tuple[Channel, ...] | None = None
    alert_rules: tuple[AlertRule, ...] | None = None


class _Loader(yaml.SafeLoader):
    """YAML as it is, but a day that no calendar has (2026-13-01) stays text: its key is named when it is checked."""

    def construct_yaml_timestamp(self, node: yaml.ScalarNode) -> Any:
        try:
            return super().construct_yaml_timestamp(node)
        except ValueError:
            return node.value


_Loader.add_constructor("tag:yaml.org,2002:timestamp", _Loader.construct_yaml_timestamp)


def read_configuration_file(path: Path, present: CustomerConfiguration) -> ConfigurationFile:
    """Read and check a customer's YAML file; keys it does not mention stay as they are in `present`.

    Raises:
        ConfigurationError: the file is missing, no YAML, or has a key or value that cannot be used;
            every problem is named by its place in the file.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError(f"There is no file {path}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read as UTF-8 text ({type(error).__name__}).") from error
    try:
        content = yaml.load(text, Loader=_Loader)  # noqa: S506  a SafeLoader of our own
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where is not None else ""
        raise ConfigurationError(
            f"{path} is not YAML{line}. Correct the file and run the command again."
        ) from None
    except (ValueError, RecursionError) as error:  # a number that Python refuses, a bottomless list
        raise ConfigurationError(
            f"{path} holds a value that cannot be read ({type(error).__name__}). Put long numbers in quotes."
        ) from None
    return parse_configuration(content if content is not None else {}, str(path), present)


def parse_configuration(
    content: Any, where: str, present: CustomerConfiguration | None = None
) -> ConfigurationFile:
    """Check the content of a YAML file; see `read_configuration_file`."""
    if not isinstance(content, dict):
        raise ConfigurationError(f"{where}: a mapping of keys is expected, such as `columns:`.")
    known = _MAPPING_KEYS | {"drift", "cadence_days", "channels", "alert_rules"}
    unknown = sorted(str(key) for key in content if key not in known)
    if unknown:
        raise ConfigurationError(
            f"{where}: unknown {'keys' if len(unknown) > 1 else 'key'} {', '.join(unknown)}. "
            f"Known keys: {', '.join(sorted(known))}."
        )
    present = present or CustomerConfiguration()
    mapping = {key: value for key, value in content.items() if key in _MAPPING_KEYS}
    if "columns" in mapping:
        mapping = _either_way_round(mapping, where)
    stored = present.model_dump()
    stored["mapping"] |= mapping
    stored |= {key: content[key] for key in ("drift", "cadence_days") if key in content}
    if isinstance(content.get("drift"), dict) and "calendar" not in content["drift"]:
        # Days labelled by command stay when the file speaks of other settings.
        stored["drift"] = {**content["drift"], "calendar": present.drift.calendar}
    try:
        return ConfigurationFile(
            stored=CustomerConfiguration.model_validate(stored),
            channels=_part(tuple[Channel, ...], content, "channels"),
            alert_rules=_part(tuple[AlertRule, ...], content, "alert_rules"),
        )
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']).removeprefix('mapping.')}: {item['msg']}"
            for item in error.errors(include_input=False, include_url=False)
        )
        raise ConfigurationError(f"{where}: {problems}.") from None


def _part(kind: Any, content: dict[str, Any], key: str) -> Any:
    if key not in content:
        return None
    listed = content[key] or ()
    try:
        return TypeAdapter(kind).validate_python(listed)
    except ValidationError as error:
        problems = "; ".join(
            f"{_place(key, listed, item['loc'])}: {item['msg'].removeprefix('Value error, ')}"
            for item in error.errors(include_input=False, include_url=False)
        )
        raise ConfigurationError(f"{problems}.") from None


def _place(key: str, listed: Any, location: tuple[int | str, ...]) -> str:
    """Where in a list of channels or rules something is wrong: by the name people gave, where there is one."""
    parts = [str(part) for part in location]
    if location and isinstance(location[0], int) and isinstance(listed[location[0]], dict):
        name = listed[location[0]].get("name")
        # Nothing else that was written is repeated: it may be a secret in the wrong place.
        parts[0] = f'{parts[0]} "{name[:100]}"' if isinstance(name, str) else parts[0]
    return ".".join([key, *parts])


def _either_way_round(mapping: dict[str, Any], where: str) -> dict[str, Any]:
    """Accept `payer: insurance_provider` and `insurance_provider: payer`; `cpt: null` means the source has none."""
    columns = mapping["columns"]
    if not isinstance(columns, dict):
        raise ConfigurationError(f"{where}: columns: write one `field: header of the file` a line.")
    result, no_cpt = {}, bool(mapping.get("no_cpt", False))
    for key, value in columns.items():
        if key == "cpt" and value is None:
            no_cpt = True
        elif key in FIELDS:
            result[key] = value
        elif isinstance(value, str) and value in FIELDS:
            result[value] = key
        else:
            raise ConfigurationError(
                f"{where}: columns: neither {str(key)[:80]} nor its value is a claim field. "
                f"Fields: {', '.join(FIELDS)}."
            )
    return {**mapping, "columns": result, "no_cpt": no_cpt}


def _digest(content: Any) -> bytes:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).digest()
