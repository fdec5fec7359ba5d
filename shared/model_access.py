"""Which models a call may use.

The principal of a call brings lists of patterns, the settings one more. They travel in a context
variable from the scope of the call to the place where a model is chosen, so that no door can forget
them.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from shared.errors import ModelNotAllowed

ModelLists = Sequence[Sequence[str]]
"""Lists of patterns; a model has to match one of each list."""

_current: ContextVar[ModelLists] = ContextVar("model_access", default=())


@contextmanager
def limit_models(lists: ModelLists) -> Iterator[None]:
    """Lets the block, and the tasks that it starts, use no other models."""
    token = _current.set(lists)
    try:
        yield
    finally:
        _current.reset(token)


def is_limited() -> bool:
    """Returns whether the caller may not use every model."""
    return bool(_current.get())


def check_model(name: str, also_known_as: Collection[str] = (), lists: ModelLists = ()) -> None:
    """Checks that the caller may use a model.

    Args:
        name: The model or deployment, as the provider is asked for it.
        also_known_as: Other names of the same model, such as the one behind a deployment.
        lists: Further lists that hold for every caller.

    Raises:
        ModelNotAllowed: The caller may not.
    """
    names = {name, *also_known_as}
    for patterns in (*lists, *_current.get()):
        if not any(_matches(pattern, each) for pattern in patterns for each in names):
            raise ModelNotAllowed(name, patterns)


def _matches(pattern: str, name: str) -> bool:
    """Returns whether a name fits a pattern, in time that grows with its length only."""
    first, *middle = pattern.split("*")
    if not middle:
        return name == pattern
    last = middle.pop()
    if len(name) < len(first) + len(last) or not (name.startswith(first) and name.endswith(last)):
        return False
    position, end = len(first), len(name) - len(last)
    for part in middle:
        position = name.find(part, position, end)
        if position < 0:
            return False
        position += len(part)
    return True
