"""Functions of Bicep that infra/ uses."""

import hashlib
import json
import uuid
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

from tests.infra.bicep_expressions import Reference

SUBSCRIPTION = "/subscriptions/00000000-0000-0000-0000-000000000000"
GROUP = f"{SUBSCRIPTION}/resourceGroups/rg"


def _string(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"))


def _hashed(digest: str, values: tuple[str, ...]) -> str:
    return Reference(digest) if any(isinstance(each, Reference) for each in values) else digest


def _union(*values: Any) -> Any:
    if isinstance(values[0], dict):
        return {key: each for value in values for key, each in value.items()}
    return list(dict.fromkeys(each for value in values for each in value))


def _resource_group(subscription: str = "", name: str = "") -> Any:
    if name:
        return f"/subscriptions/{subscription}/resourceGroups/{name}"
    return {"id": GROUP, "location": "swedencentral", "name": "rg"}


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "cidrSubnet": lambda block, size, index: str(
        list(ip_network(block).subnets(new_prefix=size))[index]
    ),
    "concat": lambda *lists: [item for each in lists for item in each],
    "contains": lambda container, item: item in container,
    "empty": lambda value: not value,
    "endsWith": lambda text, end: text.endswith(end),
    "environment": lambda: {"suffixes": {"storage": "core.windows.net"}},
    "filter": lambda items, function: [item for item in items if function(item)],
    "first": lambda items: items[0],
    "guid": lambda *values: _hashed(str(uuid.uuid5(uuid.NAMESPACE_URL, "\n".join(values))), values),
    "int": int,
    "items": lambda value: [{"key": key, "value": value[key]} for key in sorted(value)],
    "join": lambda items, separator: separator.join(items),
    "json": json.loads,
    "length": len,
    "map": lambda items, function: [function(item) for item in items],
    "min": min,
    "replace": lambda text, old, new: text.replace(old, new),
    "resourceGroup": _resource_group,
    "split": lambda text, separator: text.split(separator),
    "string": _string,
    "subscriptionResourceId": lambda kind, name: f"{SUBSCRIPTION}/providers/{kind}/{name}",
    "take": lambda value, count: value[:count],
    "tenant": lambda: {"tenantId": "11111111-1111-1111-1111-111111111111"},
    "toLower": lambda text: text.lower(),
    "toObject": lambda items, key, value=lambda item: item: {
        key(item): value(item) for item in items
    },
    "toUpper": lambda text: text.upper(),
    "trim": lambda text: text.strip(),
    "union": _union,
    "uniqueString": lambda *values: _hashed(
        hashlib.sha256("\n".join(values).encode()).hexdigest()[:13], values
    ),
}
