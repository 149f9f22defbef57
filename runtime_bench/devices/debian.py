"""Debian packages unpacked into a folder: none is installed, no root needed."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from myqasr.core import children
from myqasr.core.children import scratch_folder
from myqasr.core.errors import NotInstalledError, UserError

MIRROR = "http://deb.debian.org/debian"
"""MYQASR_DEBIAN_MIRROR names another one."""
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
PROGRAMS = ("apt-get", "dpkg-deb")
SECONDS = 600


def unpack_packages(
    packages: Sequence[str], suite: str, folder: Path, architecture: str | None = None
) -> None:
    """Fetch packages of a Debian release and all that they depend on, and unpack them in an existing folder.

    architecture: this machine's when not given. Raises NotInstalledError without Debian's tools, UserError
    when the mirror can't be reached.
    """
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing or not KEYRING.is_file():
        lacking = ", ".join(missing) or str(KEYRING)
        raise NotInstalledError(
            f"unpacking Debian packages needs {lacking}",
            "apt-get install apt dpkg debian-archive-keyring",
        )
    for name in ("bin", "sbin", "lib", "lib64"):  # as Debian has them; packages rely on it
        (folder / "usr" / name).mkdir(parents=True)
        (folder / name).symlink_to(f"usr/{name}")
    with scratch_folder("debian") as apt:
        for name in (
            "etc/apt/preferences.d",
            "var/lib/apt/lists/partial",
            "var/cache/apt/archives/partial",
        ):
            (apt / name).mkdir(parents=True)
        (apt / "status").touch()
        mirror = os.environ.get("MYQASR_DEBIAN_MIRROR", MIRROR)
        source = f"deb [signed-by={KEYRING}] {mirror} {suite} main\n"
        (apt / "etc/apt/sources.list").write_text(source)
        settings = [
            f"Dir={apt}",
            f"Dir::State::status={apt}/status",
            "Acquire::Languages=none",
            "APT::Sandbox::User=root",
        ]
        if architecture is not None:
            settings += [f"APT::{key}={architecture}" for key in ("Architecture", "Architectures")]
        get = ["apt-get", "-q", "-y", *(word for each in settings for word in ("-o", each))]
        _call(*get, "update")
        _call(*get, "--no-install-recommends", "--download-only", "install", *packages)
        for package in sorted((apt / "var/cache/apt/archives").glob("*.deb")):
            _call("dpkg-deb", "--extract", str(package), str(folder))


def _call(*command: str) -> None:
    try:
        done = children.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{command[0]} took more than {SECONDS} s") from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        told = [line for line in lines if line.startswith("E:")] or lines
        raise UserError(f"can't fetch Debian packages: {told[0]}")
