"""What counts as a leak."""

from collections import Counter

import pytest

from tests.soak.held import Held, leaks


def held(resident_mb: float = 150, sockets: int = 20, files: int = 4, tasks: int = 7) -> Held:
    return Held(
        minute=0,
        calls=0,
        resident_mb=resident_mb,
        peak_mb=resident_mb,
        sockets=sockets,
        files=files,
        tasks=Counter({"run": tasks}),
        objects=Counter(),
    )


def test_what_grows_from_look_to_look_is_a_leak() -> None:
    looks = [
        held(resident_mb=150 + 10 * n, sockets=20 + 5 * n, files=4 + 5 * n, tasks=7 + 5 * n)
        for n in range(7)
    ]
    assert leaks(looks) == [
        "sockets grew from 25 to 45",
        "files grew from 9 to 29",
        "tasks grew from 12 to 32",
        "megabytes grew from 160 to 200",
    ]


@pytest.mark.parametrize("counts", [(20, 60, 20, 60, 20, 60, 20), (60, 20, 20, 20, 20, 60, 60)])
def test_what_goes_up_and_down_is_no_leak(counts: tuple[int, ...]) -> None:
    assert leaks([held(sockets=count) for count in counts]) == []


def test_a_look_at_the_start_and_one_at_the_end_suffice() -> None:
    assert leaks([held(sockets=20), held(sockets=40)]) == ["sockets grew from 20 to 40"]
