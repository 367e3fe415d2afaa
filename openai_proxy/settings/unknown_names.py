"""Variables that look like settings and are none.

Whoever wrote them meant something: a limit that is not there must be told.
Told, not refused: the environment belongs to other programs too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from .schema import leaves


def unknown_names(variables: Iterable[str], where: str) -> Iterator[str]:
    """Yield a line for each variable `TABLE__NAME` whose table is one of ours and whose name is not.

    `where` follows the variable's name, as in errors.
    """
    known = {name for leaf in leaves() for name in leaf.environment}
    known |= {f"{name}_FILE" for leaf in leaves() if leaf.doc.secret for name in leaf.environment}
    tables = {name.partition("__")[0] for name in known if "__" in name}
    for name in sorted(variables):
        table, mark, _ = name.partition("__")
        if mark and table in tables and name not in known:
            nearest = get_close_matches(name, sorted(known), 1, cutoff=0.0)[0]
            yield f"{name}{where}: unknown setting; the nearest known one is {nearest}"
