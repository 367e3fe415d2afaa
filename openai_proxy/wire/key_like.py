"""Recognise what looks like a key, anywhere in a text. Pure.

For text that people read: error lines, logs. A secret that does not look like a
known kind of key is not found; if one is expected, show nothing at all.
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
"""The prefixes of providers' keys (`sk-`, `ek_`, `AKIA`), JSON web tokens, values of Authorization headers.

A first letter comes before everything that depends on case, because `re` then
skips to the next such letter by itself, which takes a third of the time. The
long s (U+017F) is one, because it equals `s` if case is ignored.

O(n): each branch either fails within a few characters or consumes the whole run
that it began to read. A web token therefore needs no dot: searching for one
would read the run again from every `eyJ` in it.
"""
