"""Cards of styles: what clients say of a painting and how its style is shown, beside what runs say of a training."""

from typing import Any

#: What runs write into cards; all else there is from clients.
_FROM_RUNS = frozenset({"method", "training", "final_losses", "evaluation", "steps", "run", "made_from", "parent"})
#: True of a painting, whoever trains a style of it.
_OF_PAINTINGS = ("title", "artist", "year", "rights")


def said_in(card: dict[str, Any]) -> dict[str, Any]:
    """Return what clients say in a card, without what a run says."""
    return {name: value for name, value in card.items() if name not in _FROM_RUNS}


def completed(card: dict[str, Any], present: dict[str, Any]) -> dict[str, Any]:
    """Return the card of a new version of a style, with missing fields taken from the style's present card.

    These are the look, because jobs still ask for it, and the painting's names and rights, if it is the same painting.
    """
    names = ("look", *(_OF_PAINTINGS if _is_of_same_painting(card, present) else ()))
    return {name: present[name] for name in names if name in present} | card


def trained_steps(card: dict[str, Any]) -> int | None:
    """Return the steps that a style was trained for, in all of its runs; None if the card does not say.

    A run that taught the network nothing but the identity is none of the style. Cards from clients may say anything.
    """
    made_from, training = card.get("made_from"), card.get("training")
    runs = made_from.get("runs") if isinstance(made_from, dict) else None
    if isinstance(runs, list):
        own: list[Any] = [
            run.get("steps") for run in runs if isinstance(run, dict) and run.get("trained") != "identity"
        ]
        if own and all(_is_count(steps) for steps in own):
            return int(sum(own))
    steps = card.get("steps") or (training.get("steps") if isinstance(training, dict) else None)
    return steps if _is_count(steps) else None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_of_same_painting(card: dict[str, Any], other: dict[str, Any]) -> bool:
    painting = _painting_sha256(card)
    return painting is not None and painting == _painting_sha256(other)


def _painting_sha256(card: dict[str, Any]) -> str | None:
    """Return the hash of the painting that a style was trained on; cards from clients may say anything there."""
    made_from = card.get("made_from")
    found = made_from.get("painting_sha256") if isinstance(made_from, dict) else None
    return found if isinstance(found, str) else None
