"""What the checks of the phone app's resources find: each is shown a fault that it must name."""

import shutil
from pathlib import Path

import pytest

from tools.android.lint import lint

DEMO = Path(__file__).parents[2] / "android_demo"
MAIN = "app/src/main"


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A copy of the app's sources to break."""
    shutil.copytree(DEMO / MAIN, tmp_path / MAIN)
    return tmp_path


def test_the_app_has_no_faults() -> None:
    assert lint(DEMO) == []


LAYOUT, STRINGS = "res/layout/activity_main.xml", "res/values/strings.xml"
MANIFEST, SCREEN = "AndroidManifest.xml", "java/org/myqasr/demo/MainActivity.java"
FILE_TEXT = 'android:text="@string/file"'


@pytest.mark.parametrize(
    ("file", "old", "new", "fault"),
    [
        (LAYOUT, "@string/hold", "@string/press", "string/press does not exist"),
        (SCREEN, "R.id.hold", "R.id.held", "id/held does not exist"),
        (STRINGS, "</resources>", '<string name="x">x</string></resources>', "x is never used"),
        (LAYOUT, FILE_TEXT, "", "id/file has no text and no contentDescription"),
        (LAYOUT, FILE_TEXT, 'android:text="File"', "text 'File' should be a string resource"),
        (LAYOUT, FILE_TEXT, FILE_TEXT + ' android:textSize="16dp"', "textSize 16dp is not in sp"),
        (
            MANIFEST,
            "RECORD_AUDIO",
            "CAMERA",
            "Microphone.java needs android.permission.RECORD_AUDIO",
        ),
        (MANIFEST, "RECORD_AUDIO", "CAMERA", "CAMERA is declared and not needed"),
        (MANIFEST, '".RecordActivity"', '".Other"', "RecordActivity.java is not in the manifest"),
    ],
)
def test_a_fault_is_named(app: Path, file: str, old: str, new: str, fault: str) -> None:
    path = app / MAIN / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    assert any(fault in problem for problem in lint(app)), lint(app)
