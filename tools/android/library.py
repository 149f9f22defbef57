"""ExecuTorch's Android library, as an npm package carries it: its classes, and the operators it registers.

    python -m tools.android.library    # writes the operators to tests/material/phone_operators.txt

Google's and Maven's archives aren't needed: react-native-executorch 0.5.15 holds `classes.jar` and
`libexecutorch.so` of a build for arm64-v8a. It can't be run here (there is no bionic), but the app compiles
against its classes, and every file that we write must ask for operators that it has.
"""

import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

from tools.android.missing import MissingToolError

PACKAGE = "react-native-executorch@0.5.15"
SHA256 = "994da3030406ef2f9ffee06061c9f8bdf995b01385f8c2b46d77da2e28501d10"
CLASSES = "package/android/libs/classes.jar"
ARM64 = "package/third-party/android/libs/executorch/arm64-v8a/libexecutorch.so"
LISTED = Path("tests/material/phone_operators.txt")
NAMESPACES = ("aten", "dim_order_ops", "executorch_prim", "llama", "quantized_decomposed")
BACKENDS = ("XnnpackBackend",)


@dataclass(frozen=True, slots=True)
class PhoneLibrary:
    """classes: the jar to compile against. library: shared object for arm64."""

    classes: Path
    library: Path


def fetch(folder: Path) -> PhoneLibrary:
    """From the registry that npm is set up for, kept in the folder.

    Raises MissingToolError when there is no npm or it can't have the package; ends the program when the
    package is another than it was.
    """
    found = PhoneLibrary(folder / CLASSES, folder / ARM64)
    if found.classes.is_file() and found.library.is_file():
        return found
    npm = shutil.which("npm")
    if npm is None:
        raise MissingToolError(f"needs npm to fetch {PACKAGE}")
    folder.mkdir(parents=True, exist_ok=True)
    packed = subprocess.run(
        [npm, "pack", PACKAGE, "--silent"], cwd=folder, capture_output=True, text=True, check=False
    )
    archives = sorted(folder.glob("*.tgz"))
    if packed.returncode or not archives:
        raise MissingToolError(f"npm can't fetch {PACKAGE}: {packed.stderr.strip()[-200:]}")
    (archive,) = archives
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    if sha256 != SHA256:
        archive.unlink()
        sys.exit(f"{PACKAGE} has sha256 {sha256}, not {SHA256}")
    with tarfile.open(archive) as held:
        for name in (CLASSES, ARM64):
            held.extract(name, folder, filter="data")
    archive.unlink()
    return found


def registered(library: Path) -> list[str]:
    """Operators and backends that a build registers: their names stand in it as strings."""
    data = library.read_bytes()
    names = {
        name.decode() for name in re.findall(rb"(?<=\0)([a-z_0-9]+::[A-Za-z_0-9.]+)(?=\0)", data)
    }
    operators = {name for name in names if name.partition("::")[0] in NAMESPACES}
    return sorted(operators | {name for name in BACKENDS if f"\0{name}\0".encode() in data})


def listed() -> list[str]:
    """As the tests have them."""
    return [line for line in LISTED.read_text().splitlines() if not line.startswith("#")]


def main() -> None:
    found = registered(fetch(Path("build/android/executorch")).library)
    LISTED.write_text(
        f"# Operators and backends that {PACKAGE}'s libexecutorch.so (arm64-v8a) registers:\n"
        "# python -m tools.android.library\n" + "".join(f"{name}\n" for name in found)
    )
    print(f"{len(found)} names in {LISTED}")


if __name__ == "__main__":
    main()
