"""Flex Consumption refuses, or ignores, what is valid by schema for other plans."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.infra.deployed import INFRA, expand, only

REFUSED_SITE_PROPERTIES = [
    "AlwaysOn",
    "ElasticWebAppScaleLimit",
    "FtpsState",
    "FunctionAppScaleLimit",
    "FunctionsRuntimeScaleMonitoringEnabled",
    "JavaVersion",
    "LinuxFxVersion",
    "MinimumElasticInstanceCount",
    "NetFrameworkVersion",
    "NodeVersion",
    "PowerShellVersion",
    "PreWarmedInstanceCount",
    "PythonVersion",
    "Use32BitWorkerProcess",
    "WindowsFxVersion",
]
"""Refused with error 51021 of ARM, or ignored: functionAppConfig takes their place."""

REFUSED_SETTINGS = re.compile(
    r"ENABLE_ORYX_BUILD|FUNCTIONS_(EXTENSION_VERSION|MAX_HTTP_CONCURRENCY|WORKER_\w+)"
    r"|SCM_DO_BUILD_DURING_DEPLOYMENT|WEBSITE_(CONTENT\w+|MAX_DYNAMIC_APPLICATION_SCALE_OUT|MOUNT_ENABLED"
    r"|RUN_FROM_PACKAGE\w*|TIME_ZONE|VNET_ROUTE_ALL)|XDT_MicrosoftApplicationInsights\w*",
    re.IGNORECASE,
)


def test_app_has_no_site_property_that_flex_consumption_refuses() -> None:
    _, resources = expand()
    properties = only(resources, "Microsoft.Web/sites")["properties"]
    assert "functionAppConfig" in properties
    refused = {name.lower() for name in REFUSED_SITE_PROPERTIES}
    assert {name for name in properties["siteConfig"] if name.lower() in refused} == set()


@pytest.mark.parametrize("path", sorted(INFRA.rglob("*.bicep*")), ids=lambda path: path.name)
def test_no_template_names_what_flex_consumption_refuses(path: Path) -> None:
    code = "\n".join(
        line
        for line in path.read_text().splitlines()
        if not line.strip().startswith(("//", "@description"))
    )
    names = "|".join(REFUSED_SITE_PROPERTIES)
    assert re.findall(rf"\b(?:{names})\b *:", code, re.IGNORECASE) == []
    assert REFUSED_SETTINGS.findall(code) == []


def test_update_strategy_is_left_out_unless_it_is_rolling() -> None:
    def strategy(**given: Any) -> Any:
        _, resources = expand(**given)
        config = only(resources, "Microsoft.Web/sites")["properties"]["functionAppConfig"]
        return config.get("siteUpdateStrategy")

    assert strategy() is None
    assert strategy(siteUpdateStrategy="RollingUpdate") == {"type": "RollingUpdate"}
