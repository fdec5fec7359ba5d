"""Defers what libraries load and build although a first answer does not need it.

A cold start is the time of imports. Some libraries load far more than is used of them: ``import
openai`` loads the types of all of its endpoints, and ``import mcp.server`` the client and the framework
for servers too. pydantic builds the validators of every model when its class is made, of which a first
answer needs a few.

What is deferred is there when it is asked for. What is in `UNUSED` cannot be imported at all.
"""

import ast
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import cache, partial
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from threading import RLock
from types import ModuleType
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic._internal import _model_construction
from pydantic.warnings import UnsupportedFieldAttributeWarning

PACKAGES = frozenset(
    {
        "docstring_parser",
        "mcp",
        "mcp.client",
        "mcp.server",
        "openai.lib",
        "openai.lib._parsing",
        "openai.types",
        "openai.types.audio",
        "openai.types.chat",
        "openai.types.graders",
        "openai.types.responses",
        "openai.types.shared",
        "openai.types.shared_params",
        "uvicorn",
        "werkzeug",
    }
)
"""Packages whose ``__init__`` does nothing but import names from their modules."""

REBUILDING = frozenset({"fastapi.openapi.models", "mcp_types._types"})
"""Modules that at their end build models which refer to later ones, or adapters of several models.
Their first use can do that too."""

WIRE_MODELS = frozenset({"mcp_types._v2025_11_25", "mcp_types._v2026_07_28"})
"""Modules with a model for each message of a revision of MCP, without private attributes. A server uses
few of them, so pydantic collects the fields of a model when they are asked for."""

UNUSED = frozenset({"openai._vendor.httpx_aiohttp", "pydantic.v1"})
"""Optional parts of libraries: without them, ``openai`` has no client over aiohttp, nor loads it, and
FastAPI does not ask of each parameter whether it is a model of pydantic 1, which it would refuse."""


def defer_loading() -> None:
    """Defers from now on; what is loaded already stays as it is."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
        _rebuild_later()
        _adapt_later()
        _collect_fields_later()
    # Every model inherits it. The first use of a model builds it, under pydantic's own lock.
    BaseModel.model_config["defer_build"] = True
    # FastAPI does the same, but only while it makes a route, which builds nothing any more.
    warnings.filterwarnings("ignore", category=UnsupportedFieldAttributeWarning)


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in UNUSED:
            raise ModuleNotFoundError(f"{fullname} is not used here.", name=fullname)
        if fullname not in PACKAGES | REBUILDING:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            kind = _PackageLoader if fullname in PACKAGES else _ModelsLoader
            spec.loader = kind(spec.loader.name, spec.loader.path)
        return spec


class _PackageLoader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        module.__class__ = _DeferredPackage


class _ModelsLoader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        token = _is_loading_models.set(True)
        try:
            super().exec_module(module)
        finally:
            _is_loading_models.reset(token)


_is_loading_models = ContextVar("is_loading_models", default=False)


def _rebuild_later() -> None:
    rebuild = BaseModel.model_rebuild.__func__  # type: ignore[attr-defined]

    def model_rebuild(cls: type[BaseModel], /, **options: Any) -> bool | None:
        if _is_loading_models.get():
            return None
        # In the frame of who called pydantic looks for the names that annotations use.
        depth = options.pop("_parent_namespace_depth", 2) + 1
        result: bool | None = rebuild(cls, _parent_namespace_depth=depth, **options)
        return result

    BaseModel.model_rebuild = classmethod(model_rebuild)  # type: ignore[method-assign,assignment]


def _adapt_later() -> None:
    defers = TypeAdapter._defer_build.fget  # type: ignore[attr-defined]
    # What it defers it builds as a model is built.
    TypeAdapter._defer_build = property(lambda self: _is_loading_models.get() or defers(self))  # type: ignore[method-assign,assignment]


def _collect_fields_later() -> None:
    collect = _model_construction.set_model_fields

    def set_model_fields(cls: type[BaseModel], *arguments: Any, **options: Any) -> None:
        collect_now = partial(collect, cls, *arguments, **options)
        if cls.__module__ in WIRE_MODELS:
            cls.__pydantic_fields__ = _DeferredFields(cls, collect_now)
        else:
            collect_now()

    _model_construction.set_model_fields = set_model_fields


class _DeferredFields(dict[str, Any]):
    """Stands in a model for its fields until they are asked for.

    It is empty, as pydantic expects of a class whose fields it is collecting.

    Args:
        cls: The model.
        collect: Puts the fields in its place.
    """

    _lock = RLock()

    def __init__(self, cls: type[BaseModel], collect: Callable[[], None]) -> None:
        super().__init__()
        self._cls = cls
        self._collect = collect

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        # To collect them takes their defaults from the class, where a second thread would miss them.
        with self._lock:
            if vars(self._cls).get("__pydantic_fields__") is self:
                self._collect()
        return self._cls.__pydantic_fields__


class _DeferredPackage(ModuleType):
    """A package that imports what its ``__init__`` would, when it is asked for that."""

    def __getattr__(self, name: str) -> Any:
        # Tools look for such names in every module.
        if not name.startswith("__") or name == "__all__":
            if origin := _origins(self.__name__).get(name):
                module, attribute = origin
                value = getattr(import_module(module, self.__name__), attribute)
                return vars(self).setdefault(name, value)
            if PathFinder.find_spec(f"{self.__name__}.{name}", self.__path__):
                return import_module(f"{self.__name__}.{name}")
            # As a module beside the others of the package, so that the import system's locks hold.
            whole = vars(import_module(f"{self.__name__}.__init__"))
            for each, value in list(whole.items()):
                vars(self).setdefault(each, value)
            if name in whole:
                return whole[name]
        raise AttributeError(
            f"module {self.__name__!r} has no attribute {name!r}", name=name, obj=self
        )


@cache
def _origins(package: str) -> Mapping[str, tuple[str, str]]:
    """Returns, for each name that a package's ``__init__`` imports, its module and its name there."""
    loader: Any = sys.modules[package].__loader__
    return {
        alias.asname or alias.name: (f"{'.' * node.level}{node.module}", alias.name)
        for node in ast.parse(loader.get_source(package)).body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
