"""Sizes as people write them: `4MB`, `3.5 MiB`, `900KB`, `1234567`, or a ratio of the float size `0.2x`."""

import re
from fractions import Fraction

from myqasr.core.errors import BudgetError

UNITS = {
    "": 1,
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
}
_SIZE = re.compile(r"([0-9]{1,30}(?:\.[0-9]{1,30})?)\s*([a-z]*)")


def parse_budget(text: str, float_bytes: int) -> int:
    """Whole bytes, rounded down. `float_bytes` is what ratios refer to. Raises UserError on other text."""
    match = _SIZE.fullmatch(text.strip().lower().replace(",", "").replace("_", ""))
    if match is None or match[2] not in (*UNITS, "x"):
        raise BudgetError(
            f"can't read the size {text!r}; write e.g. 4MB, 3.5MiB, 900KB, 1200000 or 0.2x "
            "(of the float size)"
        )
    # Fractions keep 0.1x of a large size exact; a float could land one byte above.
    unit = float_bytes if match[2] == "x" else UNITS[match[2]]
    budget_bytes = int(Fraction(match[1]) * unit)
    if budget_bytes < 1:
        raise BudgetError(f"a budget of {text!r} leaves no room for anything")
    return budget_bytes


def format_bytes(size_bytes: int) -> str:
    """`4.21 MB` for tables; decimal units, three digits."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size_bytes >= factor:
            return (
                f"{size_bytes / factor:.3g} {unit}"
                if size_bytes < 1000 * factor
                else f"{size_bytes // factor} {unit}"
            )
    return f"{size_bytes} B"
