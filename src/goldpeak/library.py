"""Find, list and load model cards: the shipped ones by name, a user's own by path."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from goldpeak.card import Card, read_card
from goldpeak.errors import CardError
from goldpeak.wording import did_you_mean

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ALONE", "RECOMMENDED", "card_names", "load_card", "models", "models_dir"]

RECOMMENDED: dict[str, tuple[str, ...]] = {
    "rl": ("similar", "rl"),
    "bon": ("similar_bon", "boxcox"),
}
"""By method, the shipped cards that ``card="auto"`` combines; the first is the one it takes where it cannot."""
ALONE = frozenset({"bon"})
"""Methods of which it takes the first alone, and the next only where that cannot be fitted. In the lab's worlds half of
`boxcox` beside `similar_bon` widened intervals from .76 to 1.12 and raised the regret from .015 to .020."""


def models_dir() -> Path:
    """Folder of the shipped cards: inside an installed package, or ``models/`` of the repository when editable."""
    here = Path(__file__).resolve().parent
    installed = here / "models"
    return installed if installed.is_dir() else here.parents[1] / "models"


def card_names() -> list[str]:
    """Names of the shipped cards.

    Examples
    --------
    >>> "rl_paper" in card_names()
    True
    """
    return sorted(path.stem for path in models_dir().glob("*.toml"))


def load_card(card: str | Path | Card) -> Card:
    """Load a card by the name of a shipped one or by the path of a TOML file; a `Card` is checked as a file would be.

    Raises
    ------
    CardError
        If there is no such card, or it is not valid.

    Examples
    --------
    >>> load_card("bon_paper").form.kind
    'bon'
    """
    if isinstance(card, Card):
        return Card.from_toml(card.to_toml(), source=f"card {card.name!r}")
    text = str(card)
    if text.endswith(".toml") or "/" in text or "\\" in text:
        return read_card(text)
    names = card_names()
    if text not in names:
        hint = did_you_mean(text, names)
        raise CardError(text, [f"no such card{hint}; there are {', '.join(names)}, or give the path of a .toml file"])
    return read_card(models_dir() / f"{text}.toml")


def models() -> pd.DataFrame:
    """The shipped cards as a table: name, form, trends, discrepancy, noise and title.

    Examples
    --------
    >>> models().loc["bon_paper", "form"]
    'bon'
    """
    import pandas as pd

    cards = [load_card(name) for name in card_names()]
    rows = [
        {
            "name": card.name,
            "form": card.form.kind,
            "coordinates": card.coordinates,
            "trends": ", ".join(spec.trend.kind for spec in card.coefficients.values()),
            "discrepancy": card.discrepancy.kind,
            "noise": card.noise.kind,
            "title": card.title,
        }
        for card in cards
    ]
    return pd.DataFrame(rows).set_index("name")
