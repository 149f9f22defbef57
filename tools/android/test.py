"""Check the phone app without Android's SDK: compile all of it, test its core, link its resources.

    make android-test                  # python -m tools.android.test
    make android-test BUILD_ONLY=1     # compile core and its tests only, for tools.golden

Uses Debian's JDK, JUnit and aapt2, installed by apt-get when this runs as root, the android.jar of Debian
11's package libandroid-23-java, and ExecuTorch's own classes (tools.android.library), both fetched by hash;
without npm our signatures of those classes stand in for them. What is missing and can't be had is named; then
nothing is checked.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

from tools.android import library
from tools.android.lint import lint
from tools.android.missing import MissingToolError
from tools.golden.golden_clips import write_clips
from tools.golden.golden_vectors import GOLDEN_PATH, load_golden

PACKAGES = ("openjdk-17-jdk-headless", "junit4", "aapt", "android-framework-res")
JUNIT = ("/usr/share/java/junit4.jar", "/usr/share/java/hamcrest.jar")
FRAMEWORK = Path("/usr/share/android-framework-res/framework-res.apk")
ANDROID_DEB = "pool/main/a/android-framework-23/libandroid-23-java_6.0.1+r72-6_all.deb"
ANDROID_DEB_SHA256 = "8af1b6df556971dda0a6da3536ea526a838e0c363afcdd454213d8bce94793e3"
MIRRORS = ("http://deb.debian.org/debian/", "http://archive.debian.org/debian/")
ANDROID_JAR = "usr/share/java/com.android.android-23.jar"

BUILD = Path("build/android")
DEMO = Path("android_demo")
CORE, TESTS, STUBS, APP = (BUILD / name for name in ("core", "tests", "stubs", "app"))
PACKAGE = "org.myqasr.demo"
LINT = ["-Xlint:all,-options", "-Werror"]


def main() -> None:
    start = time.monotonic()
    try:
        install_packages()
        compile_core()
        if "--build-only" in sys.argv:
            return
        android_jar = fetch_android_jar()
    except MissingToolError as missing:
        print(f"android-test skipped: {missing}")
        return
    run_core_tests()
    try:
        phone = library.fetch(BUILD / "executorch")
    except MissingToolError as missing:
        print(f"the app is compiled against our signatures of ExecuTorch alone: {missing}")
        phone = None
    compile_app(android_jar, phone)
    link_resources()
    problems = lint(DEMO)
    if phone is not None and library.registered(phone.library) != library.listed():
        problems.append(
            f"{library.LISTED} isn't what the library registers: python -m tools.android.library"
        )
    for problem in problems:
        print(problem)
    print(f"android-test: {'failed' if problems else 'passed'} in {time.monotonic() - start:.0f} s")
    sys.exit(1 if problems else 0)


def install_packages() -> None:
    """Debian's tools, from the system's own package source."""
    wanted = ("javac", "aapt2")
    if (
        all(shutil.which(tool) for tool in wanted)
        and Path(JUNIT[0]).is_file()
        and FRAMEWORK.is_file()
    ):
        return
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *PACKAGES]
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise MissingToolError(f"needs {', '.join(PACKAGES)}; as root: {' '.join(command)}")
    subprocess.run(["apt-get", "update", "--quiet"], check=False, stdout=subprocess.DEVNULL)
    installed = subprocess.run([*command, "--quiet", "-o", "DPkg::Lock::Timeout=300"], check=False)
    if installed.returncode:
        raise MissingToolError(f"apt-get can't install {', '.join(PACKAGES)}")


def fetch_android_jar() -> Path:
    """android.jar of API level 23, kept in the build folder."""
    jar = BUILD / "debian11" / ANDROID_JAR
    if jar.is_file():
        return jar
    data = b""
    for mirror in MIRRORS:
        try:
            with urllib.request.urlopen(mirror + ANDROID_DEB, timeout=120) as answer:
                data = answer.read()
            break
        except (urllib.error.URLError, OSError) as error:
            reason = f"{mirror}{ANDROID_DEB}: {error}"
    else:
        raise MissingToolError(reason)
    found = hashlib.sha256(data).hexdigest()
    if found != ANDROID_DEB_SHA256:
        sys.exit(f"{mirror}{ANDROID_DEB} has sha256 {found}, not {ANDROID_DEB_SHA256}")
    package = BUILD / "libandroid-23-java.deb"
    package.write_bytes(data)
    run("dpkg-deb", "-x", str(package), str(BUILD / "debian11"))
    return jar


def compile_core() -> None:
    """core/ against Java 8's library, which is what Android has; its tests against Java 11's."""
    javac(DEMO / "core/src/main/java", CORE, ["--release", "8", *LINT], [])
    javac(DEMO / "core/src/test/java", TESTS, ["--release", "11", *LINT], [CORE, *JUNIT])


def run_core_tests() -> None:
    """JUnit over every test class of core/."""
    write_clips([entry["clip"] for entry in load_golden()["clips"]], BUILD / "clips")
    sources = (DEMO / "core/src/test/java").rglob("*Test.java")
    classes = sorted(f"org.myqasr.core.{source.stem}" for source in sources)
    run(
        "java",
        "-Xss4m",
        f"-Dmyqasr.golden={GOLDEN_PATH}",
        f"-Dmyqasr.clips={BUILD / 'clips'}",
        f"-Dmyqasr.resources={DEMO / 'core/src/test/resources'}",
        "-cp",
        ":".join(str(part) for part in (CORE, TESTS, *JUNIT)),
        "org.junit.runner.JUnitCore",
        *classes,
    )


def compile_app(android_jar: Path, phone: library.PhoneLibrary | None) -> None:
    """core and the app against all that Android 6 has, the engines' signatures and the resources' ids.

    phone: ExecuTorch's real classes, which come before our signatures of them.
    """
    boot = f"{lambda_classes()}:{android_jar}"
    options = [
        "-source",
        "8",
        "-target",
        "8",
        "-bootclasspath",
        boot,
        "-Xlint:all,-options,-serial",
    ]
    javac(DEMO / "api-stubs/src", STUBS, [*options, "-Werror"], [])
    core = DEMO / "core/src/main/java"
    sources = [core, resource_classes()]
    if phone is not None:
        shutil.rmtree(
            STUBS / "org/pytorch"
        )  # so that nothing of ours stands in for what is missing
    engines = [STUBS] if phone is None else [phone.classes, STUBS]
    javac(DEMO / "app/src/main/java", APP, [*options, "-Werror"], engines, sources)


def lambda_classes() -> Path:
    """Signatures of java.lang.invoke, which javac needs for lambdas and Android's packager does away with.

    The JDK keeps those of Java 8 for `--release 8`, in lib/ct.sym.
    """
    folder = BUILD / "invoke"
    javac_path = shutil.which("javac")
    if javac_path is None:
        raise MissingToolError("needs javac")
    with zipfile.ZipFile(Path(javac_path).resolve().parents[1] / "lib/ct.sym") as signatures:
        for name in signatures.namelist():
            releases, _, inside = name.partition("/")
            place = inside.find("java/lang/invoke/")
            if "8" in releases and place >= 0 and name.endswith(".sig"):
                target = folder / inside[place:].replace(".sig", ".class")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(signatures.read(name))
    return folder


def resource_classes() -> Path:
    """R.java of the app's resources."""
    generated = BUILD / "generated"
    compiled = BUILD / "resources.zip"
    generated.mkdir(parents=True, exist_ok=True)
    run("aapt2", "compile", "--dir", str(DEMO / "app/src/main/res"), "-o", str(compiled))
    link(compiled, ["--java", str(generated)])
    return generated


def link_resources() -> None:
    """Resources, manifest and assets as one package, as the build on a developer's machine does."""
    link(BUILD / "resources.zip", ["-A", str(DEMO / "app/src/main/assets")])


def link(compiled: Path, more: list[str]) -> None:
    # Gradle takes the package from its build file and refuses it here; aapt2 wants it here.
    manifest = BUILD / "AndroidManifest.xml"
    source = (DEMO / "app/src/main/AndroidManifest.xml").read_text(encoding="utf-8")
    manifest.write_text(source.replace("<manifest ", f'<manifest package="{PACKAGE}" ', 1))
    run(
        "aapt2",
        "link",
        "-I",
        str(FRAMEWORK),
        "--manifest",
        str(manifest),
        "--min-sdk-version",
        "24",
        "--target-sdk-version",
        "36",
        "--auto-add-overlay",
        *more,
        "-o",
        str(BUILD / "resources.apk"),
        str(compiled),
    )


def javac(
    source: Path,
    target: Path,
    options: list[str],
    path: list[Path | str],
    more: list[Path] | None = None,
) -> None:
    """Compile every file below `source` (and below `more`) into a fresh folder."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    files = [
        str(file) for folder in (source, *(more or [])) for file in sorted(folder.rglob("*.java"))
    ]
    run("javac", *options, "-cp", ":".join(map(str, path)) or ".", "-d", str(target), *files)


def run(*command: str) -> None:
    """Run a command; ends with its exit code when it fails."""
    code = subprocess.run(command, check=False).returncode
    if code:
        sys.exit(f"{command[0]} failed ({code})")


if __name__ == "__main__":
    main()
