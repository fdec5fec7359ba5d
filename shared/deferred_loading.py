"""Defers what libraries load and build although a first answer does not need it.

A cold start is the time of imports. Two of the libraries load far more than is used of them: ``import
openai`` loads the types of all of its endpoints, and ``import mcp.server`` the client and the framework
for servers too. pydantic builds the validators of every model when its class is made, of which a first
answer needs a few.

Everything is there as before when it is asked for: only later.
"""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

from pydantic import BaseModel
from pydantic.warnings import UnsupportedFieldAttributeWarning

PACKAGES = frozenset(
    {
        "mcp",
        "mcp.client",
        "mcp.server",
        "openai.types",
        "openai.types.graders",
        "openai.types.responses",
        "openai.types.shared",
    }
)
"""Packages whose ``__init__`` does nothing but import names from their modules."""

UNUSED = frozenset({"openai._vendor.httpx_aiohttp"})
"""Optional parts of libraries: without this one, ``openai`` has no client over aiohttp, nor loads it."""


def defer_loading() -> None:
    """Defers from now on; what is loaded already stays as it is."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
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
        if fullname not in PACKAGES:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        module.__class__ = _DeferredPackage


class _DeferredPackage(ModuleType):
    """A package whose ``__init__`` runs when a name is asked for that only it can give."""

    def __getattr__(self, name: str) -> Any:
        # Tools look for such names in every module.
        if not name.startswith("__") or name == "__all__":
            # As a module beside the others of the package, so that the import system's locks hold.
            whole = vars(import_module(f"{self.__name__}.__init__"))
            for each, value in list(whole.items()):
                vars(self).setdefault(each, value)
            if name in whole:
                return whole[name]
        raise AttributeError(
            f"module {self.__name__!r} has no attribute {name!r}", name=name, obj=self
        )
