"""The home folder of an embedded stack: its data, logs, secrets and lock.

redis/  s3/  logs/  heartbeats/  nst.db  api_key  message_secret  s3_secret  webhook_key  client.json  settings.json
lock
backup/ and backup.lock are those of a backup that is being made. `scheduler.local.archive` has what a backup keeps.
Only their owner can read the secrets.
"""

import base64
import fcntl
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from nst_core.errors import ConfigError, NstError
from nst_core.system.files import write_private
from scheduler.domain.keys import new_api_key


class HomeError(NstError):
    """A home folder, or a backup of one, cannot be used."""

    code = "home_unusable"


class HomeLockedError(NstError):
    """Another stack uses this home folder."""

    code = "home_locked"


@dataclass(frozen=True, kw_only=True)
class ClientConfig:
    """The address of the API, and a key for it."""

    url: str
    api_key: str


class Home:
    """The files and folders in a home folder."""

    def __init__(self, folder: Path) -> None:
        """Nothing is created yet."""
        self.folder = folder.expanduser().absolute()
        self.redis = self.folder / "redis"
        self.s3 = self.folder / "s3"
        #: Cached training photos of workers; may be deleted at any time.
        self.cache = self.folder / "cache"
        self.logs = self.folder / "logs"
        #: A file for each process of nst, which the process touches while it works.
        self.heartbeats = self.folder / "heartbeats"
        self.database = self.folder / "nst.db"
        self.client_file = self.folder / "client.json"
        #: The variables of the last start, which the processes of nst got.
        self.settings_file = self.folder / "settings.json"

    @property
    def database_url(self) -> str:
        """The address of the database, as NST_DATABASE_URL has it."""
        return "sqlite:///" + quote(str(self.database), safe=" +/")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Create the folders and hold the lock of the home; raise HomeLockedError if another process has it."""
        for folder in (self.folder, self.redis, self.s3, self.logs, self.heartbeats):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self.folder / "lock", "a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise HomeLockedError(f"nst is already running with the home folder {self.folder}.") from None
            yield

    def prepare_database(self) -> None:
        """Make the database, empty, if it is missing; no other user of the machine may read it."""
        if not self.database.exists():
            # SQLite would make it readable. The files that it keeps beside it get the same permissions.
            os.close(os.open(self.database, os.O_WRONLY | os.O_CREAT, 0o600))
        for file in (self.database, *(self.database.with_name(self.database.name + end) for end in ("-wal", "-shm"))):
            if file.exists() and file.stat().st_uid == os.geteuid():
                file.chmod(0o600)

    def heartbeat(self, name: str) -> Path:
        """Return the heartbeat file of a process."""
        return self.heartbeats / name

    def api_key(self) -> str:
        """Return the API key; the first call creates it."""
        return self._secret("api_key", new_api_key)

    def s3_secret(self) -> str:
        """Return the secret key of the object storage; the first call creates it."""
        return self._secret("s3_secret", lambda: secrets.token_hex(24))

    def message_secret(self) -> str:
        """Return the secret that signs messages to workers; the first call creates it."""
        return self._secret("message_secret", lambda: secrets.token_hex(32))

    def webhook_key(self) -> str:
        """Return the key that encrypts the secrets of webhooks; the first call creates it."""
        return self._secret("webhook_key", lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())

    def read_client(self) -> ClientConfig | None:
        """Return the address and key of the API that ran last with this home, or None before the first start."""
        try:
            values = json.loads(self.client_file.read_text())
            return ClientConfig(url=str(values["url"]), api_key=str(values["api_key"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{self.client_file} cannot be read: {error!r}.") from error

    def write_client(self, config: ClientConfig) -> None:
        """Write the address and key of the API to where the command line finds them."""
        write_private(self.client_file, json.dumps(asdict(config), indent=2) + "\n")

    def is_running(self) -> bool:
        """Return whether a stack runs with this home."""
        try:
            with open(self.folder / "lock") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def write_settings(self, variables: Mapping[str, str]) -> None:
        """Keep the variables that the processes of nst get."""
        write_private(self.settings_file, json.dumps(variables, indent=2) + "\n")

    def read_settings(self) -> dict[str, str] | None:
        """Return the variables of the last start, or None before the first one."""
        try:
            values: dict[str, str] = json.loads(self.settings_file.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self.settings_file} cannot be read: {error!r}.") from error
        return values

    def _secret(self, name: str, make: Callable[[], str]) -> str:
        path = self.folder / name
        if not path.exists():
            write_private(path, make() + "\n")
        return path.read_text().strip()
