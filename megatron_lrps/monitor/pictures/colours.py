"""The colours, dashes and marks of all pictures, and what each colour becomes on a page, light or dark."""

from typing import Any, NamedTuple

from megatron_lrps.plan import PlannedPath

INK, FAINT, WHITE = "#333333", "#DDDDDD", "#FFFFFF"


class Look(NamedTuple):
    """The style of a kind of path: its colour, the line's style as matplotlib has it, and the mark of its versions."""

    colour: str
    line: Any
    mark: str


# Okabe and Ito's palette, which colour-blind readers tell apart; baselines have its quieter colours. Dashes and marks
# say the same without any colour.
LOOKS = {
    "main path": Look("#0072B2", "-", ""),
    "branches": Look("#D55E00", "-", "o"),
    "merged versions": Look("#E69F00", (0, (1, 1)), "*"),
    "shared paths": Look("#0072B2", "-", ""),
    "versions": Look("#D55E00", "-", "o"),
    "PTFS": Look("#8C8C8C", (0, (5, 1.5)), "s"),
    "PTFS-MERGED": Look("#56B4E9", (0, (3, 1, 1, 1)), "P"),
    "CPT": Look("#009E73", (0, (6, 1.5, 1, 1.5)), "^"),
    "CPT-REWARM": Look("#CC79A7", (0, (1.2, 1.2)), "D"),
}
BASELINES = ("PTFS", "PTFS-MERGED", "CPT", "CPT-REWARM")
PARADIGMS = {"lrps": LOOKS["branches"], **{role.lower(): LOOKS[role] for role in BASELINES}}
PLANNED: dict[str, Any] = {"linestyle": (0, (2, 2)), "linewidth": 1.2, "alpha": 0.55}
"""The iterations that are still to be trained are dotted, thin and faint, whatever the path's role."""


class Shades(NamedTuple):
    """A picture's colour on a light and on a dark page, as a line and, if it has text, as text."""

    light: str
    dark: str
    light_text: str = ""
    dark_text: str = ""


SHADES = {
    INK: Shades("#333", "#d0d4d9", "#333", "#d0d4d9"),
    WHITE: Shades("#fff", "#14171b"),
    FAINT: Shades("#ddd", "#3a4048"),
    "#0072B2": Shades("#0072b2", "#3fa7e3", "#005d91", "#6fbdec"),
    "#D55E00": Shades("#d55e00", "#f08a3c", "#a84a00", "#f5a468"),
    "#E69F00": Shades("#e69f00", "#f2b632", "#8a5f00", "#f5c65e"),
    "#56B4E9": Shades("#56b4e9", "#7cc8f2", "#1f6f9c", "#a3d8f5"),
    "#8C8C8C": Shades("#8c8c8c", "#9a9fa6", "#5f5f5f", "#b0b5bb"),
    "#009E73": Shades("#009e73", "#2fc39a", "#00704f", "#4fd6b0"),
    "#CC79A7": Shades("#cc79a7", "#dd8cbb", "#9c4478", "#eba9cf"),
}


def role_of(path: PlannedPath) -> str:
    """Return the name that a picture gives to the path's kind: a key of ``LOOKS``."""
    if path.kind == "explicit":
        return "versions" if path.version else "shared paths"
    if path.paradigm != "lrps":
        return path.paradigm.upper()
    return {"main": "main path", "branch": "branches"}.get(path.kind, "merged versions")


def look_of(path: PlannedPath) -> Look:
    """Return how the path's role is drawn."""
    return LOOKS[role_of(path)]
