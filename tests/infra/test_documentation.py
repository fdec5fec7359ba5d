"""docs/deploy.md: its commands in both shells, its queries, its links."""

import json
import logging
import re
import subprocess
from typing import Any

import pytest
import tree_sitter_powershell
from tree_sitter import Language, Parser

from infra.package import PROJECT
from tests.conftest import MakeClient, StandIn
from tests.infra.az_commands import commands, used
from tests.infra.deployed import errors_of

DOCS = (PROJECT / "docs/deploy.md").read_text()
POWERSHELL = Language(tree_sitter_powershell.language())


def blocks(language: str, text: str = DOCS) -> list[str]:
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [block for _, block in found]


def with_both_shells() -> list[str]:
    """Returns the sections between two headings that have commands for sh."""
    parts = re.split(r"^(?=#{2,4} [A-Z])", DOCS, flags=re.MULTILINE)
    return [part for part in parts if blocks("sh", part)]


@pytest.mark.parametrize("part", with_both_shells(), ids=lambda part: part.splitlines()[0])
def test_commands_for_sh_are_there_for_powershell_too(part: str) -> None:
    if "same in every shell" in part or "same in PowerShell" in part:
        return
    sh, powershell = "\n".join(blocks("sh", part)), "\n".join(blocks("powershell", part))
    assert powershell, "no command for PowerShell"
    assert used(sh).keys() == used(powershell).keys()
    modules = r"-m (infra\.\w+|tests\.\w+)"
    assert set(re.findall(modules, sh)) == set(re.findall(modules, powershell))


@pytest.mark.parametrize("block", blocks("powershell"), ids=lambda block: block[:40].strip())
def test_powershell_is_well_formed(block: str) -> None:
    source = re.sub(r"^ {3}", "", block, flags=re.MULTILINE)
    assert errors_of(Parser(POWERSHELL).parse(source.encode()).root_node) == []


def test_both_shells_name_the_same_roles() -> None:
    (sh,) = re.findall(r'roles="(.+)"', DOCS)
    (powershell,) = re.findall(r"\$roles = '(.+)'", DOCS)
    assert sh == powershell


@pytest.mark.parametrize("block", blocks("sh"), ids=lambda block: block[:40].strip())
def test_commands_for_sh_mean_the_same_to_zsh(block: str) -> None:
    """zsh, which macOS has, takes more for syntax: `$a:P`, `$a[1]`, and no comment in what is pasted."""
    assert re.findall(r"\$\w+[:\[]", block) == []
    assert re.findall(r"(?:^|\s)#.*", block) == []


def test_condition_of_the_pipeline_s_role_names_the_attributes_of_request_and_resource() -> None:
    (block,) = (each for each in blocks("sh") if "roles=" in each)
    recorder = 'az() { [ "$1" = group ] || printf "%s\\n" "$@"; }\n'
    done = subprocess.run(
        ["bash", "-c", recorder + block], capture_output=True, text=True, check=True
    )
    attributes = re.findall(r"@(\w+)\[Microsoft.Authorization/roleAssignments:(\w+)\]", done.stdout)
    assert attributes == [
        (source, attribute)
        for source in ("Request", "Resource")
        for attribute in ("RoleDefinitionId", "PrincipalType")
    ]


def test_providers_of_all_templates_are_registered_before_the_pipeline_runs_first() -> None:
    text = "\n".join(path.read_text() for path in (PROJECT / "infra").rglob("*.bicep"))
    # Every subscription has these two from the start.
    needed = set(re.findall(r"'Microsoft\.(\w+)/", text)) - {"Authorization", "Consumption"}
    (sh,) = re.findall(r"for name in (.+); do\n +az provider register", DOCS)
    (powershell,) = re.findall(r"foreach \(\$name in '(.+)'\.Split", DOCS)
    assert sh == powershell
    assert needed - set(sh.split()) == set()
    steps = DOCS.partition("### Set up an environment\n")[2].partition("\n## ")[0]
    first = steps.index("[register the resource providers](#before-you-start)")
    assert first < steps.index("1. **Resource group**")
    assert "`MissingSubscriptionRegistration`" in DOCS


def test_person_who_may_write_secrets_is_not_for_the_variable_group_of_the_pipeline() -> None:
    """The pipeline's identity may assign roles to identities only, and the template would need more."""
    (group,) = re.findall(r"^4\. \*\*Variable group\*\*.*?\n\n", DOCS, re.MULTILINE | re.DOTALL)
    assert "but not\n   `AZURE_PRINCIPAL_ID`" in group
    (row,) = re.findall(r"^\| `AZURE_PRINCIPAL_ID` .*$", DOCS, re.MULTILINE)
    assert "Not for the pipeline's variable group" in row


def test_queries_count_rows_that_sampling_stands_for() -> None:
    assert re.findall(r"count\(\)", "\n".join(blocks("kusto"))) == []


def test_deployment_whose_outputs_are_read_is_the_last_that_succeeded() -> None:
    queries = re.findall(r'az deployment group list .*--query "(.+?)"', DOCS)
    assert len(queries) == 2
    for query in queries:
        # The order of the list is not documented, and a failed deployment has no outputs.
        assert "properties.provisioningState == 'Succeeded'" in query
        assert re.fullmatch(r"sort_by\(.*, &properties\.timestamp\)\[-1\]\.name", query)


def test_links_within_the_page_lead_somewhere() -> None:
    headings = re.findall(r"^#{1,5} (.+)$", DOCS, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert [link for link in re.findall(r"\]\(#([\w-]+)\)", DOCS) if link not in anchors] == []


def test_way_to_a_verified_app_fits_one_screen() -> None:
    (way,) = re.findall(r"^## The shortest way\n(.*?)^## ", DOCS, re.MULTILINE | re.DOTALL)
    assert "azd up" in way
    assert len(way.splitlines()) <= 40


def test_documented_commands_show_models_with_versions_and_quota() -> None:
    text = re.sub(r"[\\`]\n\s*", "", DOCS)
    models = re.findall(r"az cognitiveservices model list .*", text)
    quota = re.findall(r"az cognitiveservices usage list .*", text)
    assert len(models) == len(quota) == 2
    # A table leaves nested fields out, and so the models: they have to be asked for.
    assert all("model:model.name, version:model.version" in line for line in models)
    assert all("quota:name.value, used:currentValue, limit:limit" in line for line in quota)


def test_commands_are_found_for_the_check_by_hand() -> None:
    found = commands()
    assert found["az deployment group create"] >= {"--parameters", "--resource-group"}
    assert "--build-remote" in found["az functionapp deployment source config-zip"]
    assert "--query" not in found["az keyvault secret set"]
    assert len(found) > 30


def test_options_of_nested_commands_are_told_apart() -> None:
    text = 'az a b --one $(az c d --two "--three" --four) --five\n`az e --six` -- --seven'
    assert used(text) == {
        "az a b": {"--one", "--five"},
        "az c d": {"--two", "--four"},
        "az e": {"--six"},
    }


async def test_queries_ask_for_fields_that_the_log_line_has(
    make_client: MakeClient,
    environment: dict[str, str],
    stand_in: StandIn,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    client = make_client(environment)
    await client.post("/chat", json={"message": "Hello"})
    await client.post("/chat", json={})
    lines: list[dict[str, Any]] = [
        json.loads(record.getMessage().removeprefix("request "))
        for record in caplog.records
        if record.getMessage().startswith("request {")
    ]
    logged = {field for line in lines for field in line}
    queries = "\n".join(blocks("kusto"))
    asked = set(re.findall(r"Line\.(\w+)", queries))
    assert {"outcome", "principal", "route"} <= asked
    assert asked - logged == set()
    # The text behind the eighth character is JSON, as the alert rules have it too.
    assert queries.count("parse_json(substring(Message, 8))") == len(
        re.findall(r'Message startswith "request \{"', queries)
    )
