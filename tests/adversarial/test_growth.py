"""Whatever strangers send costs steps in proportion to its size.

For each function that takes bytes from outside: its worst inputs at two
sizes. Four times the size may take 5.6 times the steps at most. `meter` says how
steps are counted, `cases` have the inputs, `test_enumeration` sees to it that
no function is forgotten.
"""

import threading

import pytest
from adversarial.cases import CASES
from adversarial.meter import steps_of

SIZES = (1024, 4096)
LARGER = (8, 64)
"""So many times larger inputs are tried if the first ones grow too much: what was only a threshold, from which on
another path is taken, is then exceeded, and what is quadratic stays so."""
LATE = ("policies.usage.meter:UsageMeter",)
"""These begin to search when 64 KiB have come."""
GROWTH = 1.4
TOO_MANY = 3_000_000
"""More than 700 steps a byte are no threshold."""
SMALL = 2000
"""So few steps say nothing about growth: a limit was met, or the input was refused at once."""


def on_a_large_stack(call):
    """Return what `call` does: the counting matcher of patterns goes as deep as its input is long."""
    results = []

    def run():
        try:
            results.append((call(), None))
        except BaseException as error:
            results.append((None, error))

    before = threading.stack_size(512 << 20)
    thread = threading.Thread(target=run)
    thread.start()
    threading.stack_size(before)
    thread.join()
    result, error = results[0]
    if error is not None:
        raise error
    return result


def growth(make, sizes):
    """Return the worst of: steps in relation to size, from each size to the next; and the steps."""
    steps = [on_a_large_stack(lambda size=size: steps_of(make(size))) for size in sizes]
    worst = max(
        (later / max(earlier, 1)) / (big / small)
        for (earlier, small), (later, big) in zip(
            zip(steps, sizes, strict=True), list(zip(steps, sizes, strict=True))[1:], strict=False
        )
    )
    return (0.0 if steps[-1] < SMALL else worst), steps


@pytest.mark.parametrize("name", CASES)
def test_steps_grow_with_the_input(name):
    """Four times as much takes four times the steps, within two fifths."""
    for number, make in enumerate(CASES[name]):
        seen = []
        for times in (64,) if name in LATE else (1, *LARGER):
            sizes = [size * times for size in SIZES]
            worst, steps = growth(make, sizes)
            seen.append(f"{steps} steps at {sizes} bytes")
            if worst < GROWTH:
                break
            if steps[-1] > TOO_MANY:
                pytest.fail(f"input {number} of {name}: {seen}")
        else:
            pytest.fail(f"input {number} of {name}: {seen}")


def test_what_is_quadratic_is_seen():
    """The meter distinguishes a search that begins anew for each item, in C and in patterns, from one that does not."""
    from adversarial.meter import METER

    def slow(size):
        data = b"a" * size
        return lambda: [METER.call(data.find, b"b", at) for at in range(0, size, 16)]

    def slow_pattern(size):
        import re

        pattern, data = re.compile(r"x[a-z-]+\."), "x-" * (size // 2)
        return lambda: METER.call(pattern.sub, "", data)

    def quick(size):
        data = b"a" * size
        return lambda: [METER.call(data.find, b"a", at) for at in range(0, size, 16)]

    assert growth(slow, SIZES)[0] > GROWTH
    assert growth(slow_pattern, SIZES)[0] > GROWTH
    assert growth(lambda size: lambda: [quick(size)() for _ in range(9)], SIZES)[0] < GROWTH
