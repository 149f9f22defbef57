"""Checks of the phone app's resources and manifest that need no SDK."""

import re
from pathlib import Path
from xml.etree import ElementTree

ANDROID = "{http://schemas.android.com/apk/res/android}"
TOUCHED = ("Button", "ImageButton", "Spinner", "CheckBox", "Switch", "EditText", "ImageView")
PERMISSIONS = {
    "AudioRecord": "android.permission.RECORD_AUDIO",
    "HttpURLConnection": "android.permission.INTERNET",
    "Vibrator": "android.permission.VIBRATE",
}
ACTIVITY = re.compile(r"\bextends (?:\w+Activity|Activity|ContentProvider)\b")
REFERENCE = re.compile(
    r"@(string|color|dimen|style|drawable|layout|array|integer|plurals)/([\w.]+)"
)
CODE_REFERENCE = re.compile(
    r"(?<!android\.)\bR\.(string|color|dimen|style|drawable|layout|array|integer|id|plurals)\.(\w+)"
)
TEXT_SIZE = re.compile(r"^\d+(\.\d+)?sp$")


def lint(demo: Path) -> list[str]:
    """What is wrong with the resources and the manifest, one line each."""
    main = demo / "app/src/main"
    return [
        *unresolved(main),
        *unlabelled(main),
        *undeclared(main),
        *untranslatable(main),
        *fixed_text_sizes(main),
    ]


def unresolved(main: Path) -> list[str]:
    """References to resources that don't exist, from XML or code, and strings that nothing uses."""
    known = resources(main)
    problems = []
    used: set[tuple[str, str]] = set()
    for file in sorted([*main.rglob("*.xml"), *main.rglob("*.java")]):
        pattern = CODE_REFERENCE if file.suffix == ".java" else REFERENCE
        for kind, name in pattern.findall(file.read_text(encoding="utf-8")):
            used.add((kind, name))
            if (kind, name.replace(".", "_")) not in known:
                problems.append(f"{file}: {kind}/{name} does not exist")
    unused = sorted(name for kind, name in known if kind == "string" and (kind, name) not in used)
    return problems + [f"string/{name} is never used" for name in unused]


def resources(main: Path) -> set[tuple[str, str]]:
    """(kind, name) of every resource of the app."""
    found: set[tuple[str, str]] = set()
    for file in (main / "res").rglob("*.xml"):
        folder = file.parent.name.split("-")[0]
        if folder == "values":
            for element in ElementTree.parse(file).getroot():
                kind = "array" if element.tag.endswith("array") else element.tag
                found.add((kind, element.get("name", "").replace(".", "_")))
        else:
            found.add((folder, file.stem))
        for match in re.findall(r"@\+id/(\w+)", file.read_text(encoding="utf-8")):
            found.add(("id", match))
    return found


def unlabelled(main: Path) -> list[str]:
    """Things to touch, images and drawn charts that TalkBack has no name for."""
    problems = []
    for file in sorted((main / "res").glob("layout*/*.xml")):
        for element in ElementTree.parse(file).iter():
            kind = element.tag.rpartition(".")[2]
            texts = [
                element.get(ANDROID + name)
                for name in ("text", "contentDescription", "hint", "labelFor")
            ]
            needs = kind in TOUCHED or element.tag.startswith("org.myqasr.")
            if needs and not any(texts):
                name = element.get(ANDROID + "id", "without an id")
                problems.append(f"{file}: {kind} {name} has no text and no contentDescription")
    return problems


def undeclared(main: Path) -> list[str]:
    """Permissions that the code needs or the manifest declares without the other; activities not declared."""
    manifest = (main / "AndroidManifest.xml").read_text(encoding="utf-8")
    declared = set(re.findall(r'uses-permission android:name="([\w.]+)"', manifest))
    components = set(re.findall(r'android:name="\.(\w+)"', manifest))
    needed: dict[str, str] = {}
    problems = []
    for file in sorted(main.rglob("*.java")):
        text = file.read_text(encoding="utf-8")
        needed.update({PERMISSIONS[name]: file.name for name in PERMISSIONS if name in text})
        if ACTIVITY.search(text) and "abstract class" not in text and file.stem not in components:
            problems.append(f"{file} is not in the manifest")
    problems += [f"{file} needs {name}" for name, file in needed.items() if name not in declared]
    return problems + [
        f"{name} is declared and not needed" for name in sorted(declared - set(needed))
    ]


def untranslatable(main: Path) -> list[str]:
    """Layouts with texts of their own instead of strings."""
    problems = []
    for file in sorted((main / "res").glob("layout*/*.xml")):
        for element in ElementTree.parse(file).iter():
            for name in ("text", "contentDescription", "hint"):
                value = element.get(ANDROID + name)
                if value and not value.startswith("@string/"):
                    problems.append(f"{file}: {name} {value!r} should be a string resource")
    return problems


def fixed_text_sizes(main: Path) -> list[str]:
    """Text sizes that don't grow with the user's font size, and heights that large text doesn't fit in."""
    sizes = {}
    for file in (main / "res").glob("values*/*.xml"):
        for element in ElementTree.parse(file).getroot().iter("dimen"):
            sizes["@dimen/" + element.get("name", "")] = element.text or ""
    problems = []
    for file in sorted((main / "res").glob("layout*/*.xml")):
        for element in ElementTree.parse(file).iter():
            size = element.get(ANDROID + "textSize")
            if size and not TEXT_SIZE.match(sizes.get(size, size)):
                problems.append(f"{file}: textSize {size} is not in sp")
            height = element.get(ANDROID + "layout_height", "")
            grows = height in ("wrap_content", "match_parent") or element.get(
                ANDROID + "layout_weight"
            )
            if element.tag in ("TextView", "Button") and not grows:
                problems.append(f"{file}: {element.tag} of height {height} cuts large text off")
    return problems
