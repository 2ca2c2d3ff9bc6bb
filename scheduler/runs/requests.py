"""Requests for runs: checked against what a tenant may use, and resolved into what never changes."""

from collections.abc import Iterator, Mapping
from io import BytesIO
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

from nst_core.client.resources.runs import TrainRequest
from nst_core.errors import BlobError, ConfigError, WeightsError
from nst_core.formats import IMAGE_SUFFIXES
from nst_core.nets.weights_header import read_config
from nst_core.protocol.segments import StoredFile
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.styles import families
from nst_core.system.traces import traceparent
from nst_core.training import presets
from nst_core.training.config import TrainConfig
from nst_core.training.limits import check_limits
from nst_core.training.presets import Recipe
from nst_core.training.sources import few_photos
from scheduler.access.tenants import Tenants
from scheduler.domain import addresses
from scheduler.domain.errors import ConflictError, RequestInvalidError
from scheduler.domain.runs import Run, RunSpec, place_key
from scheduler.runs import paintings
from scheduler.runs.paintings import Painting
from scheduler.store.database import Database
from scheduler.styles.ownership import own_style
from scheduler.styles.pins import find_pinned
from scheduler.styles.weights import MAX_WEIGHTS_BYTES, check_card, check_trained, put_weights

#: What a client says of the painting is a part of the style's card.
MAX_ABOUT_BYTES = 16 * 2**10
#: The most names of photos that are listed.
MAX_LISTED = 20_000


class RunResolver:
    """Turns requests for runs into specs."""

    def __init__(self, database: Database, blobs: BlobStore, tenants: Tenants, *, training_data: str | None) -> None:
        """`training_data` is the s3:// address of photos for requests that name none."""
        self._database = database
        self._blobs = blobs
        self._tenants = tenants
        self._training_data = training_data

    def resolve(self, tenant: str, run_id: str, request: TrainRequest, painting: Painting | None) -> RunSpec:
        """Return what a run is to do, with the painting in its place: a given one, or the one that the request names.

        Raises RequestInvalidError if that cannot be done or is not allowed, TooLargeError for the painting, and
        StyleExistsError if the name comes with nst.
        """
        self.check_name(tenant, request.name)
        family_name = family_of(request)
        family = find_family(request, family_name)
        recipe = resolve_recipe(request, family=family)
        check_step(recipe.config)
        check_card(request.about, pointer="/about", max_bytes=MAX_ABOUT_BYTES)
        if painting is None:
            address = self._tenants.permissions(tenant).readable(request.painting or "", pointer=paintings.POINTER)
        samples = self._samples(tenant, request.samples)
        if family is None:
            initial, initial_name = self._initial(tenant, recipe)
        else:
            initial, initial_name = put_weights(self._blobs, family).file, family_name
        photos = self._photo_prefix(tenant, request.data)
        count = self._count(photos)
        if count == 1 and request.held_out:
            message = f"There is only 1 photo under {photos}: add photos, or set held_out to 0."
            raise RequestInvalidError(message, pointer="/held_out")
        if painting is None:
            painting = paintings.fetch(self._blobs, address)
        _check_size(paintings.check(painting, tenant=tenant), request, recipe.config)
        return RunSpec(
            painting=paintings.keep(self._blobs, painting, self.place(tenant, run_id)),
            painting_source=painting.name,
            photos=str(photos),
            photo_count=count,
            held_out=request.held_out,
            preset=recipe.preset,
            family=family_name,
            stroke=request.stroke,
            strength=request.strength,
            config=recipe.config.to_dict(),
            initial=initial,
            initial_name=initial_name,
            samples=samples,
            sample_every=request.sample_every,
            publish=request.publish,
            exact=request.exact,
            about=request.about,
            warning=few_photos(count),
            traceparent=traceparent(),
        )

    @property
    def has_own_photos(self) -> bool:
        """Whether requests need not name photos."""
        return self._training_data is not None

    def check_name(self, tenant: str, name: str) -> None:
        """Raise StyleExistsError if a style's name comes with nst: now, instead of after hours of training."""
        with self._database.read() as connection:
            own_style(connection, name, tenant)

    def check_photos(self, run: Run) -> None:
        """Raise ConflictError if all photos of a run are gone, before its fork waits for a worker in vain."""
        try:
            self._count(BlobUri.parse(run.spec.photos))
        except RequestInvalidError as error:
            raise ConflictError(f"{run.id} cannot be forked any more. {error.message}") from error

    def place(self, tenant: str, run_id: str) -> BlobUri:
        """Return a run's own place."""
        return BlobUri(self._blobs.bucket, place_key(tenant, run_id))

    def _samples(self, tenant: str, samples: tuple[str, ...]) -> tuple[str, ...]:
        stems: set[str] = set()
        for place, text in enumerate(samples):
            pointer = f"/samples/{place}"
            uri = self._tenants.permissions(tenant).readable(text, pointer=pointer)
            stem = PurePosixPath(uri.key).stem
            try:
                addresses.check_key(stem)
                exists = self._blobs.exists(uri)
            except (ConfigError, BlobError) as error:
                if error.retryable:
                    raise
                raise RequestInvalidError(error.message, pointer=pointer) from error
            if not exists:
                raise RequestInvalidError(f"There is no object {uri}.", pointer=pointer)
            if stem in stems:
                raise RequestInvalidError(f"Two samples are called {stem!r}.", pointer=pointer)
            stems.add(stem)
        return samples

    def _initial(self, tenant: str, recipe: Recipe) -> tuple[StoredFile, str] | tuple[None, None]:
        """Return the weights that the run begins with, and their style; raise RequestInvalidError if they don't fit."""
        name = recipe.initial_style
        if name is None:
            return None, None
        with self._database.read() as connection:
            style = find_pinned(connection, tenant, name, pointer="/initial")
        if style.index:
            message = f"{name} is style {style.index} of its network, and a training begins with the first one."
            raise RequestInvalidError(message, pointer="/initial")
        try:
            data = self._blobs.get(BlobUri.parse(style.weights), max_bytes=MAX_WEIGHTS_BYTES)
            found = read_config(BytesIO(data), name=f"The style {name}")
        except (WeightsError, BlobError) as error:
            if error.retryable:
                raise
            raise RequestInvalidError(error.message, pointer="/initial") from error
        wanted = recipe.config.transformer
        lacks_identity = wanted.identity and not (found.identity or recipe.config.identity_weight)
        if found.paintings > 1 or lacks_identity or not wanted.single.takes_weights_of(found.single):
            message = f"{name} is another network than the training's: {found.to_dict()}."
            raise RequestInvalidError(message, pointer="/initial")
        return StoredFile(uri=style.weights, sha256=style.version), f"{style.name}@{style.version}"

    def _photo_prefix(self, tenant: str, data: str | None) -> BlobUri:
        text = self._training_data if data is None else data
        if text is None:
            message = "Say in data where the photos to train on are: this scheduler has none (NST_TRAINING_DATA)."
            raise RequestInvalidError(message, pointer="/data")
        text = text if text.endswith("/") else f"{text}/"
        if data is None:
            return BlobUri.parse(text)
        uri = self._tenants.permissions(tenant).readable(text, pointer="/data", is_prefix=True)
        # What runs and jobs put there would become training photos, and change them from one segment to the next.
        places = (place_key(tenant, ""), addresses.scratch_key(tenant, ""))
        own = uri.bucket == self._blobs.bucket
        if own and (addresses.is_scratch(uri.key) or any(place.startswith(uri.key) for place in places)):
            raise RequestInvalidError(f"{text} is not in a place that runs may read.", pointer="/data")
        return uri

    def _count(self, prefix: BlobUri) -> int:
        try:
            names = islice(self._list(prefix), MAX_LISTED)
            count = sum(PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES for name in names)
        except BlobError as error:
            if error.retryable:
                raise
            raise RequestInvalidError(error.message, pointer="/data") from error
        if not count:
            kinds = ", ".join(sorted(IMAGE_SUFFIXES))
            raise RequestInvalidError(f"There are no photos ({kinds}) under {prefix}.", pointer="/data")
        return count

    def _list(self, prefix: BlobUri) -> Iterator[str]:
        after = ""
        while keys := self._blobs.list_keys(prefix, after=after):
            yield from keys
            after = keys[-1]


def family_of(request: TrainRequest) -> str | None:
    """Return the name of the family that a style joins: the one that the request names, or that of its preset."""
    if request.family is not None:
        return request.family
    preset = presets.presets().get(request.preset or "")
    return None if preset is None else preset.family


def find_family(request: TrainRequest, name: str | None) -> bytes | None:
    """Return the weights file of the family that a style joins, if it joins one; else RequestInvalidError."""
    if name is None:
        return None
    known = families()
    if name not in known:
        message = f"There is no family {name!r}; known: {', '.join(known)}."
        raise RequestInvalidError(message, pointer="/family")
    return known[name].weights()


def resolve_recipe(request: TrainRequest, *, family: bytes | None = None) -> Recipe:
    """Return what the preset and the options of a request come to; raise RequestInvalidError with the place.

    `family` is the weights file of the family that the style joins.
    """
    wishes: dict[str, Any] = {
        "preset": request.preset,
        "family": None if family is None else read_config(family),
        "steps": request.steps,
        "stroke": request.stroke,
        "strength": request.strength,
        "seed": request.seed,
        "initial": request.initial,
    }
    try:
        return presets.resolve(**wishes, options=request.options)
    except ConfigError as error:
        pointer = option_pointer(request.options, error)
        if error.field in wishes.keys() - request.options.keys():
            pointer = f"/{error.field}"
        raise RequestInvalidError(error.message, pointer=pointer) from error


def check_step(config: TrainConfig) -> None:
    """Raise RequestInvalidError if a training cannot succeed with this config.

    It needs too much memory, a loss network that workers do not offer, or minutes for its painting, or makes a style
    that is too large to be kept.
    """
    try:
        check_limits(config)
    except ConfigError as error:
        pointer = "/options" if error.field is None else f"/options/{error.field}"
        raise RequestInvalidError(error.message, pointer=pointer) from error
    check_trained(config.transformer, pointer="/options/transformer")


def _check_size(size: tuple[int, int], request: TrainRequest, config: TrainConfig) -> None:
    """Raise RequestInvalidError if a painting of a size becomes too thin, with the place of what makes it so."""
    pointer = "/options/style_size_px" if "style_size_px" in request.options else paintings.POINTER
    if request.stroke < 1:
        paintings.check_size(size, round(config.style_size_px / request.stroke), pointer=pointer)
        pointer = "/stroke"
    paintings.check_size(size, config.style_size_px, pointer=pointer)


def option_pointer(options: Mapping[str, Any], error: ConfigError) -> str:
    """Return the JSON pointer of the option that is wrong, or of all options if it is not a single one of them."""
    return f"/options/{error.field}" if error.field in options else "/options"
