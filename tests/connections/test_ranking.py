"""How well plain questions find tools of well-known servers, by their words alone."""

from shared.selection.ranking import rank
from tests.connections.real_tools import QUESTIONS, specs


async def test_plain_questions_find_the_right_tool() -> None:
    tools = specs()
    places = []
    for question, expected in QUESTIONS.items():
        names = [spec.name for spec in await rank(question, tools)]
        places.append(names.index(expected) if expected in names else None)
    first = sum(place == 0 for place in places)
    among_five = sum(place is not None and place < 5 for place in places)
    assert (len(tools), len(places)) == (113, 50)
    assert first >= 37
    assert among_five >= 46


async def test_question_without_a_known_word_finds_nothing() -> None:
    assert await rank("zzz", specs()) == []
    assert await rank("", specs()) == []
    assert await rank("words", []) == []
