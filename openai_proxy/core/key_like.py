"""What looks like a key, wherever it stands. Pure.

For text that goes to people: error lines, logs. A secret that looks like
no known key is not found; where one is expected, show nothing at all.
"""

from __future__ import annotations

import re

KEY_LIKE = re.compile(
    r"""\b(?:sk|pk|rk|ek|sess|xai|pplx|glpat|nvapi|xox[abeprs])-[A-Za-z0-9_.-]{6,}
    | \b(?:ek|gsk|hf|gh[opsur]|github_pat|r8|fw|whsec)_[A-Za-z0-9_]{8,}
    | \bAKIA[A-Z0-9]{8,}
    | \bAIza[A-Za-z0-9_-]{10,}
    | \b(?-i:eyJ)[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*){0,2}
    | \b(?:Bearer|Basic)\s+[^\s,;"]+""",
    re.IGNORECASE | re.VERBOSE,
)
"""The prefixes of providers' keys, JSON web tokens, what an Authorization header says.

O(n): each branch either fails within a few characters or takes the whole
run that it began to read. A web token therefore needs no dot: to look for
one would read the run again from every `eyJ` in it.
"""
