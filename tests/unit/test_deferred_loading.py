"""Each test runs in a process of its own: what is loaded already cannot be deferred."""

import subprocess
import sys

import pytest

from shared.deferred_loading import PACKAGES, WIRE_MODELS


def run(code: str) -> str:
    """Runs Python after `shared` was imported and returns what it prints."""
    completed = subprocess.run(
        [sys.executable, "-c", f"import shared, sys\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return completed.stdout.strip()


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_deferred_package_has_all_names_that_it_would_have_had(package: str) -> None:
    code = f"""
import importlib, json
module = importlib.import_module("{package}")
print(json.dumps(sorted(name for name in vars(importlib.import_module("{package}.__init__")))))
exec("from {package} import *")
found = [name for name in vars(importlib.import_module("{package}.__init__")) if hasattr(module, name)]
print(json.dumps(sorted(found)))
"""
    expected, found = run(code).splitlines()
    assert found == expected


def test_name_of_a_deferred_package_is_that_of_its_module() -> None:
    code = """
from openai.types import Image
import openai.types.image
import mcp
print(Image is openai.types.image.Image, mcp.types.Tool.__name__, mcp.Client.__module__)
"""
    assert run(code) == "True Tool mcp.client.client"


def test_name_of_a_deferred_package_loads_its_own_module_and_no_other() -> None:
    code = """
from openai.types import Batch
print("openai.types.batch" in sys.modules, "openai.types.image" in sys.modules)
"""
    assert run(code) == "True False"


def test_module_of_a_deferred_package_is_found_as_its_attribute() -> None:
    code = """
from openai.types import image
import werkzeug
print(image.Image.__name__, werkzeug.urls.__name__, "werkzeug.test" in sys.modules)
"""
    assert run(code) == "Image werkzeug.urls False"


def test_unknown_name_of_a_deferred_package_is_an_error_as_ever() -> None:
    code = """
import mcp
try:
    mcp.nothing
except AttributeError as error:
    print(error)
try:
    from openai.types import nothing
except ImportError as error:
    print(str(error).split(" (")[0])
"""
    assert run(code).splitlines() == [
        "module 'mcp' has no attribute 'nothing'",
        "cannot import name 'nothing' from 'openai.types'",
    ]


def test_threads_that_need_a_deferred_package_at_once_all_get_its_names() -> None:
    code = """
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from threading import Barrier
import openai
names = ["openai.types", "openai.types.batch", "openai.types.responses", "openai.types.shared"] * 2
barrier = Barrier(len(names))
def load(name):
    barrier.wait()
    module = import_module(name)
    return getattr(module, {"openai.types": "Batch", "openai.types.batch": "Batch",
        "openai.types.responses": "Response", "openai.types.shared": "Metadata"}[name]) is not None
with ThreadPoolExecutor(len(names)) as pool:
    print(all(pool.map(load, names)))
"""
    assert run(code) == "True"


def test_models_are_built_by_their_first_use() -> None:
    code = """
from pydantic import BaseModel
class Point(BaseModel):
    x: int
before = Point.__pydantic_complete__
print(before, Point(x="1").x, Point.__pydantic_complete__)
"""
    assert run(code) == "False 1 True"


def test_openai_works_without_the_part_that_is_not_used() -> None:
    code = """
import openai
print("aiohttp" in sys.modules, openai.AsyncOpenAI(api_key="k").chat.completions is not None)
"""
    assert run(code) == "False True"


def test_models_that_refer_to_later_ones_are_built_by_their_first_use() -> None:
    code = """
from fastapi.openapi.models import Schema
from mcp_types import CallToolRequestParams
print(Schema.__pydantic_complete__, CallToolRequestParams.__pydantic_complete__)
print(Schema(items={"type": "string"}).items.type, CallToolRequestParams(name="tool").name)
print(Schema.__pydantic_complete__, CallToolRequestParams.__pydantic_complete__)
"""
    assert run(code).splitlines() == ["False False", "string tool", "True True"]


def test_adapters_of_many_models_are_built_by_their_first_use() -> None:
    code = """
from mcp_types import client_request_adapter as adapter
before = adapter.pydantic_complete
print(before, type(adapter.validate_python({"method": "ping"})).__name__, adapter.pydantic_complete)
"""
    assert run(code) == "False PingRequest True"


@pytest.mark.parametrize("module", sorted(WIRE_MODELS))
def test_wire_models_have_the_fields_and_schemas_that_they_would_have_had(module: str) -> None:
    code = f"""
import importlib, json
from pydantic import BaseModel
models = [value for value in vars(importlib.import_module("{module}")).values()
    if isinstance(value, type) and issubclass(value, BaseModel) and value.__module__ == "{module}"]
for model in models:
    fields = {{name: repr(field) for name, field in model.model_fields.items()}}
    print(model.__name__, fields, json.dumps(model.model_json_schema(), sort_keys=True))
"""
    plain = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert run(code) == plain
    assert len(plain.splitlines()) > 100


def test_fields_of_a_wire_model_are_collected_by_their_first_use() -> None:
    code = """
import mcp_types._v2026_07_28 as wire
def collected():
    return type(vars(wire.CallToolRequest)["__pydantic_fields__"]) is dict
print(collected(), "method" in wire.CallToolRequest.model_fields, collected())
"""
    assert run(code) == "False True True"


def test_threads_that_use_a_wire_model_first_at_once_all_find_its_defaults() -> None:
    code = """
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
import mcp_types._v2026_07_28 as wire
barrier = Barrier(16)
def use(_):
    barrier.wait()
    return wire.BooleanSchema.model_validate({"type": "boolean"}).title is None
with ThreadPoolExecutor(16) as pool:
    print(all(pool.map(use, range(16))))
"""
    assert run(code) == "True"


def test_server_of_a_deferred_package_needs_none_of_its_command_line() -> None:
    code = """
import uvicorn
print("click" in sys.modules, uvicorn.Config.__name__, uvicorn.Server.__name__)
"""
    assert run(code) == "False Config Server"


def test_rebuilding_finds_names_of_the_function_that_asks_for_it() -> None:
    code = """
from pydantic import BaseModel
def make():
    class Leaf(BaseModel):
        size: int
    class Tree(BaseModel):
        leaves: "list[Leaf]"
        other: "Later"
    class Later(BaseModel):
        name: str
    return Tree.model_rebuild(), Tree(leaves=[{"size": 1}], other={"name": "x"}).other.name
print(*make())
"""
    assert run(code) == "True x"
