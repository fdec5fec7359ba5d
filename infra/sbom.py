"""The bill of materials of a package, as CycloneDX 1.6: every wheel with version, licence and digest."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import NAMESPACE_URL, uuid5


def bill_of_materials(
    version: str, build_id: str, installed: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Returns the document.

    Args:
        version: Version of the app.
        build_id: Id of the build.
        installed: What pip installed, as its installation report lists it.
    """
    components = sorted(map(_component, installed), key=lambda component: component["purl"])
    # Derived, not random: the same build has the same bill.
    digests = "".join(component["hashes"][0]["content"] for component in components)
    serial = uuid5(NAMESPACE_URL, f"{version}+{build_id}:{digests}")
    app = f"openai-mcp-functions@{version}"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": app,
                "name": "openai-mcp-functions",
                "version": f"{version}+{build_id}",
            }
        },
        "components": components,
        "dependencies": [
            {"ref": app, "dependsOn": [component["bom-ref"] for component in components]}
        ],
    }


def _component(item: Mapping[str, Any]) -> dict[str, Any]:
    metadata = item["metadata"]
    name = metadata["name"].lower().replace("_", "-").replace(".", "-")
    purl = f"pkg:pypi/{name}@{metadata['version']}"
    component = {
        "type": "library",
        "bom-ref": purl,
        "name": metadata["name"],
        "version": metadata["version"],
        "purl": purl,
        "hashes": [
            {"alg": "SHA-256", "content": item["download_info"]["archive_info"]["hashes"]["sha256"]}
        ],
    }
    if expression := metadata.get("license_expression"):
        component["licenses"] = [{"expression": expression}]
    elif names := _licence_names(metadata):
        component["licenses"] = [{"license": {"name": name}} for name in names]
    return component


def _licence_names(metadata: Mapping[str, Any]) -> list[str]:
    classifiers = [
        classifier.rsplit(" :: ", 1)[-1]
        for classifier in metadata.get("classifier", [])
        if classifier.startswith("License :: ")
    ]
    text = metadata.get("license", "")
    # Some put the whole text of the licence there.
    return classifiers or ([text] if text and len(text) < 60 else [])
