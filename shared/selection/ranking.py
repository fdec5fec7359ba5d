"""Ranks tools by the words of a question: BM25F over name, title, description and argument names.

No model is asked, nothing is stored: the tools of one caller are a few hundred short texts.
"""

import asyncio
import math
import re
from collections import Counter
from collections.abc import Sequence

from shared.tools import ToolSpec

NAME_WEIGHT, TITLE_WEIGHT, ARGUMENT_WEIGHT = 4.0, 2.0, 1.0
"""How often a word counts there, where it counts once in a description."""

SATURATION, LENGTH_SHARE = 1.2, 0.6
"""BM25's k1 and b."""

MAX_QUERY_CHARS = 1000
MAX_TEXT_CHARS = 4000
"""Maximum characters of a query, and of one tool, that are looked at."""

_TOOLS_BETWEEN_YIELDS = 4
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")
_STOP_WORD = re.compile(
    "a|an|and|are|as|at|be|by|can|could|do|does|for|from|have|how|i|in|into|is|it|its|me|my|of|on|or|our|"
    "please|so|that|the|their|them|there|these|this|to|us|use|was|we|what|when|where|which|who|will|with|"
    "would|you|your"
)
_SUFFIXES = ("ations", "ation", "ings", "ing", "ies", "ied", "ers", "ed", "es", "er", "s", "e", "y")
_SHORTEST_STEM = 3


async def rank(query: str, specs: Sequence[ToolSpec]) -> Sequence[ToolSpec]:
    """Returns the tools that have a word of the query, the best first; lets others work meanwhile.

    Args:
        query: What the tool is to do, in plain words.
        specs: The tools.
    """
    wanted = set(words(query[:MAX_QUERY_CHARS]))
    found: list[tuple[ToolSpec, dict[str, float], float]] = []
    frequency: Counter[str] = Counter()
    total = 0.0
    for number, spec in enumerate(specs):
        weights = _weights(spec)
        length = sum(weights.values())
        total += length
        matching = {word: weights[word] for word in wanted & weights.keys()}
        frequency.update(matching.keys())
        if matching:
            found.append((spec, matching, length))
        if number % _TOOLS_BETWEEN_YIELDS == 0:
            await asyncio.sleep(0)
    average = total / len(specs) if specs else 1.0
    rarity = {
        word: math.log(1 + (len(specs) - count + 0.5) / (count + 0.5))
        for word, count in frequency.items()
    }

    def score(matching: dict[str, float], length: float) -> float:
        norm = SATURATION * (1 - LENGTH_SHARE + LENGTH_SHARE * length / average)
        return sum(
            rarity[word] * weight * (SATURATION + 1) / (weight + norm)
            for word, weight in matching.items()
        )

    # Sorting keeps the order of equal ones, so that a list is the same each time.
    ranked = sorted(found, key=lambda each: -score(each[1], each[2]))
    return [spec for spec, _, _ in ranked]


def words(text: str) -> list[str]:
    """Returns the stems of the words of a text; names are split at underscores and capitals."""
    return [
        _stem(word)
        for word in (each.lower() for each in _WORD.findall(text))
        if not _STOP_WORD.fullmatch(word)
    ]


def _weights(spec: ToolSpec) -> dict[str, float]:
    """Returns how much each word of a tool counts."""
    weights: dict[str, float] = {}
    arguments = spec.input_schema.get("properties")
    names = " ".join(arguments) if isinstance(arguments, dict) else ""
    for text, weight in (
        (spec.name, NAME_WEIGHT),
        (spec.title, TITLE_WEIGHT),
        (names, ARGUMENT_WEIGHT),
        (spec.description, 1.0),
    ):
        # Once each: a server that repeats a word a thousand times is not the better match.
        for word in dict.fromkeys(words(text[:MAX_TEXT_CHARS])):
            weights[word] = weights.get(word, 0.0) + weight
    return weights


def _stem(word: str) -> str:
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= _SHORTEST_STEM:
            return word.removesuffix(suffix)
    return word
