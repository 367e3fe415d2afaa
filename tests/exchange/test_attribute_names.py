"""Attribute names that instances of a class share."""

import sys

import pytest

from openai_proxy.exchange.attribute_names import MOST_NAMES, share_names


class Few:
    """As many names as have room, most of which come late."""

    def __init__(self) -> None:
        self.first = 1


class Shared(Few):
    """The same, named beforehand."""


NAMES = [f"name{number}" for number in range(MOST_NAMES - 1)]
share_names(Shared, "first " + " ".join(NAMES))


def filled_late(kind: type[Few]) -> int:
    """Return the size of the last of some instances, all of them made before any has all its attributes."""
    made = [kind() for _ in range(100)]
    for each in made:
        for name in NAMES:
            setattr(each, name, None)
    return sys.getsizeof(vars(made[-1]))


def test_names_that_come_late_are_shared_where_they_were_named_beforehand() -> None:
    """A burst of requests at the start does not make all later ones larger."""
    assert filled_late(Shared) * 2 < filled_late(Few)


def test_more_names_than_there_is_room_for_are_a_defect() -> None:
    """Whoever adds one notices it, and does not make every exchange larger."""
    with pytest.raises(ValueError, match="Few would have 30 names"):
        share_names(Few, " ".join(f"name{number}" for number in range(MOST_NAMES + 1)))


def test_naming_leaves_no_attribute() -> None:
    """What was named is not set."""
    assert vars(Shared()) == {"first": 1}
