"""Runs processes of container images without an engine: buildah unpacks an image, and unshare isolates a process.

A process has what it has in a container of Docker or Kubernetes with a read-only root: the image's files, user,
environment and command; its own process ids, the first of which is tini; an empty /tmp. It has the network of this
machine, and no limits of memory or processors. All this needs root.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

#: The programs that must be installed.
PROGRAMS = ("buildah", "unshare", "setpriv", "chroot")
# The arguments are the root, the user, pairs of folders to bind, and -- before the command.
_ENTER = """
root=$1 user=$2; shift 2
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind -o ro /sys "$root/sys"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/tmp"
while [ "$1" != -- ]; do mount --bind "$1" "$root$2"; shift 2; done
shift
exec setpriv --no-new-privs chroot --userspec="$user" --groups= "$root" setpriv --pdeathsig=KILL "$@"
"""


@dataclass(frozen=True, kw_only=True)
class Image:
    """An unpacked image."""

    name: str
    root: Path
    user: str
    env: Mapping[str, str]
    #: The command of a container, and of its health check.
    command: Sequence[str]
    health: Sequence[str]
    folder: str

    def run(self, env: Mapping[str, str], binds: Mapping[Path, str], command: Sequence[str] = ()) -> list[str]:
        """Return the program and arguments that run a process of the image, by default its own command.

        `env` adds to the environment, and `binds` has folders of this machine and where they are in the image. The
        program is the parent of the first process of the container, and ends as that one does.
        """
        variables = [f"{name}={value}" for name, value in {**self.env, **env}.items()]
        pairs = [part for host, inside in binds.items() for part in (str(host), inside)]
        isolated = (_program("unshare"), "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private")
        enter = ("sh", "-ec", _ENTER, "sh", str(self.root), self.user, *pairs, "--")
        inside = ("/usr/bin/env", f"--chdir={self.folder}", *(command or self.command))
        return [_program("env"), "-i", *variables, *isolated, *enter, *inside]


@contextmanager
def unpacked(name: str) -> Iterator[Image]:
    """Unpack an image of buildah's storage for the block. Raises CalledProcessError if there is none of the name."""
    container = _buildah("from", "--pull-never", name)
    try:
        config = json.loads(_buildah("inspect", "--type", "container", container))["Docker"]["config"]
        yield Image(
            name=name,
            root=Path(_buildah("mount", container)),
            user=config["User"],
            env=dict(line.split("=", 1) for line in config["Env"]),
            command=(*(config["Entrypoint"] or ()), *(config["Cmd"] or ())),
            health=config["Healthcheck"]["Test"][1:],
            folder=config["WorkingDir"] or "/",
        )
    finally:
        _buildah("rm", container)


def first_process(parent: int) -> int:
    """Return the id of the first process of a container by that of its parent; 0 if there is none."""
    try:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    except OSError:
        return 0
    return int(children[0]) if children else 0


def lacking() -> str:
    """Return what this machine lacks to run containers, or nothing."""
    if os.geteuid() != 0:
        return "root"
    return next((program for program in PROGRAMS if shutil.which(program) is None), "")


def _program(name: str) -> str:
    path = shutil.which(name)
    assert path is not None, f"{name} is not installed"
    return path


def _buildah(*arguments: str) -> str:
    done = subprocess.run([_program("buildah"), *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()
