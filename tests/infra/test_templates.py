"""What templates, pipeline and documentation promise each other. The syntax is for Bicep to check."""

import re
from pathlib import Path

import pytest

from infra.package import runtime_python

PROJECT = Path(__file__).parent.parent.parent
INFRA = PROJECT / "infra"
MAIN = (INFRA / "main.bicep").read_text()
TEMPLATES = sorted(INFRA.rglob("*.bicep"))
DOCS = (PROJECT / "docs/deploy.md").read_text()
RULES = re.findall(r"^\| ✓ \| (.+?) \| `(.+?)` \| `(.+)` \|$", DOCS, re.MULTILINE)


def name(path: Path) -> str:
    return str(path.relative_to(PROJECT))


@pytest.mark.parametrize("path", TEMPLATES, ids=name)
def test_every_parameter_is_described(path: Path) -> None:
    statements = re.split(r"\n\s*\n", path.read_text())
    bare = [
        text
        for text in statements
        if re.search(r"^param ", text, re.MULTILINE) and "@description(" not in text
    ]
    assert bare == []


def test_every_output_is_used_by_pipeline_azd_or_documentation() -> None:
    users = [*(INFRA / "pipelines").iterdir(), INFRA / "azd.py", PROJECT / "docs/deploy.md"]
    text = "\n".join(path.read_text() for path in users)
    outputs = re.findall(r"^output (\w+)", MAIN, re.MULTILINE)
    assert outputs
    assert [output for output in outputs if not re.search(rf"\b{output}\b", text)] == []


@pytest.mark.parametrize("path", sorted((INFRA / "modules").iterdir()), ids=name)
def test_every_output_of_a_module_is_used(path: Path) -> None:
    symbols = re.findall(rf"^module (\w+) 'modules/{path.name}'", MAIN, re.MULTILINE)
    for output in re.findall(r"^output (\w+)", path.read_text(), re.MULTILINE):
        assert any(re.search(rf"\b{symbol}!?\.outputs\.{output}\b", MAIN) for symbol in symbols), (
            output
        )


@pytest.mark.parametrize("path", TEMPLATES, ids=name)
def test_no_text_names_a_host_that_differs_between_clouds(path: Path) -> None:
    """The linter's rule no-hardcoded-env-urls is an error here, and reads descriptions too."""
    code = re.sub(r"^\s*//.*$", "", path.read_text(), flags=re.MULTILINE)
    hosts = r"(?:core|database|graph)\.windows\.net|(?:vault|datalake)\.azure\.net"
    hosts += r"|(?:management|gallery)\.azure\.com|login\.microsoftonline\.com|trafficmanager\.net"
    assert re.findall(hosts, code) == []


def test_every_module_is_deployed() -> None:
    used = set(re.findall(r"'modules/([\w-]+\.bicep)'", MAIN))
    imported = {
        found
        for path in TEMPLATES
        for found in re.findall(
            r"^import .* from '(?:modules/)?(.+)'", path.read_text(), re.MULTILINE
        )
    }
    assert {path.name for path in (INFRA / "modules").iterdir()} == used | imported


def test_package_is_built_by_the_python_of_the_app_everywhere() -> None:
    version = runtime_python()
    for path in ("package.yml", "deploy.yml"):
        text = (INFRA / "pipelines" / path).read_text()
        assert re.findall(r"versionSpec: (.+)", text) == [f'"{version}"']
    for path in ("run.sh", "run.ps1"):
        text = (INFRA / "hooks" / path).read_text()
        assert set(re.findall(r"(?:python|py -)(3\.\d+)", text, re.IGNORECASE)) == {version}
        assert f"({version.replace('.', ', ')})" in text
    assert set(re.findall(r"python(3\.\d+)", DOCS)) == {version}


@pytest.mark.parametrize(("rule", "path", "line"), RULES, ids=[rule for rule, _, _ in RULES])
def test_line_that_satisfies_a_rule_is_there(rule: str, path: str, line: str) -> None:
    lines = (PROJECT / path).read_text().splitlines()
    assert any(line in found for found in lines), rule


def test_rules_are_many() -> None:
    assert len(RULES) > 20


def test_documentation_names_every_role_that_a_pipeline_may_assign() -> None:
    roles = dict(
        re.findall(
            r"^  (\w+): '([0-9a-f-]{36})'$", (INFRA / "modules/roles.bicep").read_text(), re.M
        )
    )
    # Operators get this one by azd or az.
    del roles["keyVaultSecretsOfficer"]
    (allowed,) = re.findall(r'roles="(.+)"', DOCS)
    assert set(allowed.split(", ")) == set(roles.values())


def test_every_variable_of_the_parameter_files_is_documented() -> None:
    for path in INFRA.glob("*.bicepparam"):
        for variable in re.findall(r"readEnvironmentVariable\('(\w+)'", path.read_text()):
            known = f"{DOCS}{(INFRA / 'pipelines/deploy.yml').read_text()}"
            assert re.search(rf"\b{variable}\b", known), variable
