"""The styles and their versions: shipped, imported or made by runs; looked up, published and deleted."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from nst_core.clock import Clock
from nst_core.errors import BlobAccessError, BlobInvalidError, BlobNotFoundError
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.styles import shipped_styles, version_of_file
from scheduler.access.idempotency import Accepted
from scheduler.access.tenants import Tenants
from scheduler.domain.errors import NotFoundError, RequestInvalidError, StyleExistsError
from scheduler.store import styles as access
from scheduler.store import versions
from scheduler.store.database import Database, retried
from scheduler.store.styles import StyleRow
from scheduler.store.versions import VersionRow
from scheduler.styles.ownership import own_style
from scheduler.styles.pins import as_style, find_version, to_publish
from scheduler.styles.weights import check_card, keep_weights, put_weights


class StyleLibrary:
    """What clients can do with styles. A tenant sees its own, and those that come with nst."""

    def __init__(self, database: Database, blobs: BlobStore, tenants: Tenants, *, clock: Clock) -> None:
        self._database = database
        self._blobs = blobs
        self._tenants = tenants
        self._clock = clock

    def register_shipped(self) -> None:
        """Put the styles of the package into storage and into the database."""
        for style in shipped_styles():
            kept = put_weights(self._blobs, style.weights())
            row = StyleRow(
                name=style.name,
                version=kept.sha256,
                weights=str(kept.uri),
                network=kept.config.to_dict(),
                card=style.card,
            )
            # Another scheduler that starts at the same time may be first.
            retried(partial(self._register, row))

    def _register(self, row: StyleRow) -> None:
        with self._database.write() as connection:
            access.put_style(connection, row, now=self._clock())

    def all(self, tenant: str, *, limit: int, after: str = "") -> list[StyleRow]:
        """Return the first styles, at most `limit`, that a tenant sees behind a name, by name."""
        with self._database.read() as connection:
            return access.list_styles(connection, tenant=tenant, limit=limit, after=after)

    def get(self, tenant: str, name: str, *, version: str | None = None) -> StyleRow:
        """Return a style, or how it is with a version that is given by its first digits.

        Raises NotFoundError if there is none, and RequestInvalidError if several versions begin so.
        """
        with self._database.read() as connection:
            if version is None:
                found = access.find_style(connection, name, tenant=tenant)
            else:
                pinned = find_version(connection, tenant, name, version, pointer="/version")
                found = None if pinned is None else as_style(pinned)
        if found is None:
            which = "" if version is None else f" with a version {version}"
            raise NotFoundError(f"There is no style {name!r}{which}.")
        return found

    def versions(self, tenant: str, name: str, *, limit: int, after: str | None) -> list[VersionRow]:
        """Return up to `limit` versions of a style that come behind one of them, newest first.

        Raises NotFoundError if there is no version at all, and RequestInvalidError if `after` is not one of them.
        """
        with self._database.read() as connection:
            hashes = versions.list_hashes(connection, name, tenant=tenant)
            if not hashes:
                raise NotFoundError(f"There is no style {name!r}.")
            if after is not None and after not in hashes:
                raise RequestInvalidError(f"The list has no entry {after!r}.", pointer="/after_id")
            start = 0 if after is None else hashes.index(after) + 1
            return versions.list_versions(connection, name, tenant=tenant, only=hashes[start : start + limit])

    def present(self, tenant: str, name: str) -> str | None:
        """Return the version that a name stands for, if it stands for one."""
        with self._database.read() as connection:
            found = access.find_style(connection, name, tenant=tenant)
        return None if found is None else found.version

    def weights(self, tenant: str, name: str, *, version: str | None = None) -> tuple[StyleRow, Iterator[bytes]]:
        """Return a style and the bytes of its weights file."""
        style = self.get(tenant, name, version=version)
        try:
            return style, self._blobs.stream(BlobUri.parse(style.weights))
        except BlobNotFoundError as error:
            raise NotFoundError(f"The weights of {name!r} are not in storage.") from error

    def import_style(
        self, tenant: str, name: str, *, weights: str, card: dict[str, Any], index: int = 0, replace: bool = False
    ) -> Accepted[StyleRow]:
        """Make a style of a weights file in storage; return it, and whether it got this version now.

        `index` says which style of the network it is. Raises RequestInvalidError, TooLargeError or WeightsError if
        card, weights or index cannot be used, and StyleExistsError if the name has another version and `replace` is
        not set, or comes with nst. The version that is replaced stays in storage, and jobs that were submitted with it
        keep it.
        """
        check_card(card)
        source = self._tenants.permissions(tenant).readable(weights, pointer="/weights")
        try:
            kept = keep_weights(self._blobs, source, index=index)
        except (BlobNotFoundError, BlobAccessError, BlobInvalidError) as error:
            raise RequestInvalidError(error.message, pointer="/weights") from error
        style = StyleRow(
            name=name,
            version=version_of_file(kept.sha256, index),
            weights=str(kept.uri),
            index=index,
            network=kept.config.to_dict(),
            card=card,
            tenant=tenant,
        )
        # A concurrent import may have added this version or this name first.
        return retried(lambda: self._put(style, replace=replace))

    def _put(self, style: StyleRow, *, replace: bool) -> Accepted[StyleRow]:
        with self._database.write() as connection:
            found = access.find_style(connection, style.name, tenant=style.tenant)
            same = found is not None and found.version == style.version
            if found is not None and same and not (replace and found.tenant == style.tenant):
                return Accepted(found, is_new=False)
            own_style(connection, style.name, style.tenant)
            if found is None:
                access.add_style(connection, style, now=self._clock())
            elif replace:
                access.put_style(connection, style, now=self._clock())
            else:
                raise StyleExistsError(f"There is a style {style.name!r} with another version.")
        return Accepted(style, is_new=not same)

    def publish(self, tenant: str, name: str, *, version: str) -> StyleRow:
        """Let a style's name stand for another of its versions, given by its first digits.

        Raises NotFoundError if the tenant has made no such version, StyleExistsError if the name comes with nst.
        """

        def publish() -> StyleRow:
            with self._database.write() as connection:
                present = own_style(connection, name, tenant)
                found = find_version(connection, tenant, name, version, pointer="/version")
                if found is None or found.tenant != tenant:
                    raise NotFoundError(f"You have not created a version {version} of {name!r}.")
                style = to_publish(found, present, tenant=tenant)
                access.put_style(connection, style, now=self._clock())
                return style

        return retried(publish)

    def delete(self, tenant: str, name: str) -> None:
        """Free a style's name; its versions stay, for jobs that pin them.

        Raises NotFoundError if there is no such style, and StyleExistsError if it comes with nst.
        """
        with self._database.write() as connection:
            if own_style(connection, name, tenant) is None:
                raise NotFoundError(f"There is no style {name!r}.")
            access.delete_style(connection, name, tenant=tenant)
