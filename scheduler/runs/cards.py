"""Cards of styles that runs made: from what, how, and what they are worth."""

from typing import Any

from nst_core.training.config import TrainConfig
from scheduler.domain.cards import said_in
from scheduler.domain.runs import Run
from scheduler.store.database import Connection
from scheduler.styles.pins import find_version

_METHOD = "Feed-forward transformer network of Johnson et al. (2016) with {norm} normalisation; {network} loss network"
_NETWORKS = {"vgg16": "VGG16", "vgg19": "VGG19"}


def make_card(run: Run, *, about: dict[str, Any], final_losses: dict[str, float]) -> dict[str, Any]:
    """Return the card of the style of a run that has a result; what clients say, `about`, comes first.

    What the run itself knows is never taken from clients.
    """
    spec = run.spec
    config = run.config or spec.config
    card: dict[str, Any] = {
        **about,
        "method": method_line(config),
        "training": config,
        "final_losses": final_losses,
        "evaluation": (run.result or {}).get("evaluation", {}),
        "steps": run.step,
        "run": run.id,
        "made_from": {
            "painting_sha256": spec.painting.sha256,
            "family": spec.family,
            "preset": spec.preset,
            "stroke": spec.stroke,
            "strength": spec.strength,
            "photos": _photos(run),
            "initial": spec.initial_name,
            "initial_sha256": None if spec.initial is None else spec.initial.sha256,
            "exact": spec.exact,
        },
    }
    if spec.parent is not None:
        card["parent"] = vars(spec.parent).copy()
    return card


def about_of(connection: Connection, run: Run) -> dict[str, Any]:
    """Return what clients say of a run's style: in the card of the version that it has made, else in its request.

    The card may have been edited since, so that a longer training or a fork must not begin with the request again.
    """
    if run.version is None:
        return run.spec.about
    found = find_version(connection, run.tenant, run.name, run.version, pointer="")
    return run.spec.about if found is None else said_in(found.card)


def method_line(config: dict[str, Any]) -> str:
    """Return one line that says how a network was trained, for people."""
    values = TrainConfig.from_dict(config)
    network = _NETWORKS.get(values.network, values.network)
    return _METHOD.format(norm=values.transformer.norm, network=network)


def _photos(run: Run) -> dict[str, Any]:
    if run.photos is None:
        return {"count": run.spec.photo_count}
    photos = {name: run.photos[name] for name in ("count", "held_out", "skipped") if name in run.photos}
    return photos | ({"warning": run.photos["warning"]} if run.photos.get("warning") else {})
