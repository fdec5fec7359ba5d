"""The pipelines as they run: which stages, in which environments, with what."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra.pipelines import PROJECT, expand

PIPELINES = sorted(PROJECT.glob("azure-pipelines*.yml"))
TEMPLATES = sorted(PROJECT.glob("infra/pipelines/*.yml"))
PUSH = {"Build.Reason": "IndividualCI"}
PULL_REQUEST = {"Build.Reason": "PullRequest"}
BOTH = ["dev", "prod"]


def name(path: Path) -> str:
    return path.name


def stages(variables: dict[str, str], **parameters: Any) -> dict[str, Any]:
    document = expand("azure-pipelines.yml", variables, **parameters)
    return {stage["stage"]: stage for stage in document["stages"]}


def resources(stage: Any) -> set[str]:
    """Returns the names of connections, variable groups and environments in a stage."""
    return set(re.findall(r"openai-mcp-[a-z-]+", yaml.safe_dump(stage)))


def order(found: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(stage, found[stage].get("dependsOn", "the one before")) for stage in found]


def test_dev_alone_needs_nothing_of_another_environment() -> None:
    found = stages(PUSH)
    assert order(found) == [("check", []), ("package", "check"), ("dev", "the one before")]
    assert resources(list(found.values())) == {"openai-mcp-dev", "openai-mcp-dev-smoke"}


def test_further_environments_follow_with_a_preview_before_each() -> None:
    found = stages(PUSH, environments=BOTH)
    assert order(found) == [
        ("check", []),
        ("package", "check"),
        *((stage, "the one before") for stage in ("dev", "prod_preview", "prod")),
    ]
    assert resources(found["prod_preview"]) == {"openai-mcp-prod", "openai-mcp-prod-preview"}
    assert resources(found["prod"]) == {"openai-mcp-prod", "openai-mcp-prod-smoke"}


@pytest.mark.parametrize("environments", [["dev"], BOTH])
def test_pull_request_previews_the_first_environment_and_sees_no_key(
    environments: list[str],
) -> None:
    found = stages(PULL_REQUEST, environments=environments)
    assert order(found) == [("check", []), ("preview", "check")]
    assert resources(found["preview"]) == {"openai-mcp-dev", "openai-mcp-dev-preview"}


def test_rollback_goes_to_its_target_alone_with_package_and_templates_of_that_run() -> None:
    found = stages(PUSH, environments=BOTH, rollbackRunId=42, target="prod")
    assert order(found) == [("rollback", [])]
    assert resources(found["rollback"]) == {"openai-mcp-prod", "openai-mcp-prod-smoke"}
    (job,) = found["rollback"]["jobs"]
    steps = job["strategy"]["runOnce"]["deploy"]["steps"]
    (fetch,) = [step for step in steps if step.get("task") == "DownloadPipelineArtifact@2"]
    assert (fetch["inputs"]["buildType"], fetch["inputs"]["pipelineId"]) == ("specific", 42)
    # Nothing comes from the commit of this run: what deploys lies in the artifact.
    assert {"checkout": "none"} in steps
    folders = {
        step["inputs"]["workingDirectory"] for step in steps if step.get("task") == "AzureCLI@2"
    }
    assert folders == {"$(Pipeline.Workspace)/app/sources"}


def test_rollback_of_an_unknown_environment_is_refused_with_a_sentence() -> None:
    found = stages(PUSH, rollbackRunId=42, target="prod")
    assert resources(list(found.values())) == set()
    (step,) = [step for step in found["refuse"]["jobs"][0]["steps"] if "bash" in step]
    assert "prod is none of the environments of this run" in step["bash"]
    assert "exit 1" in step["bash"]


def test_only_main_is_deployed() -> None:
    main = "and(succeeded(), eq(variables['Build.SourceBranch'], 'refs/heads/main'))"
    deployed = stages(PUSH, environments=BOTH)
    rolled_back = stages(PUSH, rollbackRunId=42)
    conditions = {
        stage["stage"]: stage["condition"]
        for stage in (*deployed.values(), *rolled_back.values())
        if resources(stage)
    }
    assert set(conditions) == {"dev", "prod_preview", "prod", "rollback"}
    assert set(conditions.values()) == {main}


def test_no_setting_of_the_app_changes_from_run_to_run() -> None:
    # What the parameter files read may come from the variable groups, and from no step of a run.
    read = {
        variable
        for path in (PROJECT / "infra").glob("*.bicepparam")
        for variable in re.findall(r"readEnvironmentVariable\('(\w+)'", path.read_text())
    }
    text = "\n".join(
        (PROJECT / "infra/pipelines" / each).read_text() for each in ("deploy.yml", "preview.yml")
    )
    assert {"API_KEYS", "OPENAI_LOCATION"} <= read
    changed = re.findall(r"task\.setvariable variable=(\w+)|export (\w+)=", text)
    assert read & {each for pair in changed for each in pair} == set()
    assert "openssl rand" not in text


def test_deployment_publishes_bill_of_materials_and_digest_with_the_sources_that_deploy_it() -> (
    None
):
    package = (PROJECT / "infra/pipelines/package.yml").read_text()
    assert "git archive HEAD infra tests/__init__.py tests/smoke" in package
    # infra/package.py writes app.zip, sbom.json and build.json with the digest into this folder.
    assert '--output "$(Build.ArtifactStagingDirectory)/app"' in package
    assert "targetPath: $(Build.ArtifactStagingDirectory)/app\n" in package


def test_known_vulnerabilities_are_looked_up_for_every_change() -> None:
    jobs = {job["job"] for job in stages(PULL_REQUEST)["check"]["jobs"]}
    assert jobs == {"python", "vulnerabilities", "bicep"}


@pytest.mark.parametrize("path", [*PIPELINES, *TEMPLATES], ids=name)
def test_bicep_is_the_pinned_one_wherever_templates_are_compiled(path: Path) -> None:
    text = path.read_text()
    assert "az bicep install\n" not in text
    for script in re.findall(r"inlineScript: \|\n(.*?)(?=\n\s*- |\Z)", text, re.DOTALL):
        compiles = re.search(r"az deployment group (create|validate|what-if)", script)
        # Later steps of a job find the compiler that an earlier one installed.
        assert not compiles or "az bicep install --version" in text


def test_pipelines_agree_on_the_version_of_bicep() -> None:
    versions = {
        variable["value"]
        for path in PIPELINES
        for variable in yaml.safe_load(path.read_text())["variables"]
        if variable["name"] == "BICEP_VERSION"
    }
    assert len(versions) == 1


@pytest.mark.parametrize("path", [*PIPELINES, *TEMPLATES], ids=name)
def test_azure_tasks_name_their_connection_as_the_documentation_does(path: Path) -> None:
    text = path.read_text()
    assert "connectedServiceName" not in text
    assert text.count("azureSubscription: openai-mcp-") == text.count("task: AzureCLI@2")


def test_certificate_destroys_what_it_made_whatever_happened() -> None:
    document = expand("azure-pipelines.certify.yml", PUSH)
    assert (document["trigger"], document["pr"]) == ("none", "none")
    assert document["schedules"][0]["always"] == "true"
    (job,) = document["stages"][1]["jobs"]
    steps = {step.get("displayName"): step for step in job["steps"]}
    *_, published, destroyed = steps
    assert (published, destroyed) == ("Publish what was seen", "Destroy")
    for step in (published, destroyed):
        assert steps[step]["condition"] == "always()"
    script = steps[destroyed]["inputs"]["inlineScript"]
    assert 'az group delete --name "$RESOURCE_GROUP" --yes' in script
    assert "purge" in script
    (deployed,) = (
        step["inputs"]["inlineScript"]
        for step in job["steps"]
        if step.get("displayName") == "Deploy the infrastructure"
    )
    # What an agent left that died holds names and quota.
    for kind in ("cognitiveservices account", "keyvault"):
        assert f"az {kind} list-deleted" in deployed
        assert f"az {kind} purge" in deployed
    assert any("tests.smoke.examples" in step.get("bash", "") for step in job["steps"])
    assert resources(document["stages"]) - {"openai-mcp-certify-"} == {"openai-mcp-certify"}


def test_certificate_deploys_twice_and_compares_the_process_that_answers() -> None:
    (job,) = expand("azure-pipelines.certify.yml", PUSH)["stages"][1]["jobs"]
    (again,) = (step for step in job["steps"] if step.get("displayName") == "Deploy a second time")
    script = again["inputs"]["inlineScript"]
    before, deployed, after = (
        script.index(part)
        for part in (
            "| tee",
            "az deployment group create",
            'tests.smoke.process "$APP_URL" --same-as',
        )
    )
    assert before < deployed < after
    assert "what-if" not in yaml.safe_dump(job)
    # Azure may move an app for reasons of its own.
    assert again["continueOnError"] == "true"
