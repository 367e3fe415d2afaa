"""What looks like a key, wherever it stands. Pure.

For text that goes to people: error lines, logs. A secret that looks like
no known key is not found; where one is expected, show nothing at all.
"""

from __future__ import annotations

import re

KEY_LIKE = re.compile(
    r"""[aAbBeEfFgGhHnNpPrRsSwWxX\u017f](?<!\w.)(?i:
      (?: (?<=s)(?:k|ess) | (?<=[pre])k | (?<=p)plx | (?<=x)(?:ai|ox[abeprs]) | (?<=g)lpat | (?<=n)vapi )
      -[A-Za-z0-9_.-]{6,}
    | (?: (?<=e)k | (?<=g)(?:sk|h[opsur]|ithub_pat) | (?<=h)f | (?<=r)8 | (?<=f)w | (?<=w)hsec )
      _[A-Za-z0-9_]{8,}
    | (?<=a)(?:KIA[A-Z0-9]{8,} | Iza[A-Za-z0-9_-]{10,})
    | (?-i:(?<=e)yJ)[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*){0,2}
    | (?<=b)(?:earer|asic)\s+[^\s,;"]+
    )""",
    re.VERBOSE,
)
"""The prefixes of providers' keys (`sk-`, `ek_`, `AKIA`), JSON web tokens, what an Authorization header says.

A first letter comes before everything that depends on case: `re` then skips to
the next such letter by itself, which takes a third of the time. The long s
(U+017F) is one, for it is the same as `s` where case is ignored.

O(n): each branch either fails within a few characters or takes the whole
run that it began to read. A web token therefore needs no dot: to look for
one would read the run again from every `eyJ` in it.
"""
