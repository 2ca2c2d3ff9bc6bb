"""PostgreSQL servers for tests, if its programs are installed."""

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

import psycopg

from scheduler.local.servers import HOST, free_port
from tests.servers import run_server


def find_postgres() -> Path | None:
    """Return the folder of PostgreSQL's server programs."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


def init_postgres(programs: Path, data: Path) -> None:
    """Make an empty database cluster in the folder `data`, whose parent must exist. Its superuser is nst."""
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        # Up to the folder for everybody's temporary files, such as /tmp or /dev/shm: its sticky bit is set.
        for path in takewhile(lambda path: not path.stat().st_mode & stat.S_ISVTX, data.parents[:8]):
            if not path.stat().st_mode & 0o001:  # temporary folders are accessible to root only
                path.chmod(path.stat().st_mode | 0o011)
        shutil.chown(data.parent, "postgres")
    init = [*_as_user(), str(programs / "initdb"), "-D", str(data), "-U", "nst", "-A", "trust", "--no-sync"]
    subprocess.run(init, check=True, stdout=subprocess.DEVNULL)


def postgres_command(programs: Path, data: Path, port: int) -> list[str]:
    """Return the command of a server that listens on the loopback interface and never waits for the disk."""
    settings = {"fsync": "off", "listen_addresses": HOST, "max_wal_size": "64MB"}
    options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
    return [*_as_user(), str(programs / "postgres"), "-D", str(data), "-p", str(port), "-k", "", *options]


def postgres_url(port: int, name: str = "postgres") -> str:
    """Return the address of a database of a server."""
    return f"postgresql+psycopg://nst@{HOST}:{port}/{name}"


def postgres_serves(port: int) -> bool:
    """Return whether a server accepts connections. It listens earlier, but refuses them until it is ready."""
    try:
        psycopg.connect(host=HOST, port=port, user="nst", dbname="postgres", connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


@contextmanager
def run_postgres(folder: Path) -> Iterator[str]:
    """Run a separate server in a folder, which may be missing, and yield the address of its first database."""
    programs, port = find_postgres(), free_port()
    assert programs is not None, "PostgreSQL's server programs are not installed"
    folder.mkdir(exist_ok=True)
    init_postgres(programs, folder / "data")
    with run_server(postgres_command(programs, folder / "data", port), port, serves=postgres_serves):
        yield postgres_url(port)


def _as_user() -> list[str]:
    if os.geteuid() != 0:
        return []
    # It replaces itself by the server, so that signals reach the server, and dies with its parent.
    program = shutil.which("setpriv")
    assert program is not None, "util-linux is installed"
    return [program, "--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig=KILL"]
