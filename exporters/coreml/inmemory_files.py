"""A folder in one piece of memory, as ExecuTorch's Core ML delegate keeps its model: `inmemoryfs`.

The files one after the other, then what is where as JSON, its bytes in reverse so that a reader can start at
the end. Children come before their folder, which knows them by index; the last node is the root. ExecuTorch's
own writer takes files in the order of the disk; this one by name, so that the same files give the same bytes.
"""

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

_FILE, _FOLDER = 0, 1
ROOT = "lowered_module"


def flattened(files: Mapping[str, bytes]) -> bytes:
    """All files in one piece. files: path in the folder, as `a/b.json` -> content."""
    nodes: list[dict[str, Any]] = []
    data = bytearray()

    def add_folder(name: str, inside: Mapping[str, bytes]) -> int:
        children = {}
        for child in sorted({path.partition("/")[0] for path in inside}):
            below = {
                path.removeprefix(f"{child}/"): content
                for path, content in inside.items()
                if path.startswith(f"{child}/")
            }
            children[child] = add_folder(child, below) if below else add_file(child, inside[child])
        return _add(nodes, name, _FOLDER, 0, 0, children)

    def add_file(name: str, content: bytes) -> int:
        start = len(data)
        data.extend(content)
        return _add(nodes, name, _FILE, start, len(content), {})

    add_folder(ROOT, files)
    listed = json.dumps({"nodes": nodes}, separators=(",", ":")).encode("ascii")
    return bytes(data) + listed[::-1]


def _add(
    nodes: list[dict[str, Any]],
    name: str,
    kind: int,
    offset: int,
    size: int,
    children: dict[str, int],
) -> int:
    """Append a node; returns its index."""
    region = {"offset": offset, "size": size}
    nodes.append({"name": name, "kind": kind, "dataRegion": region, "children": children})
    return len(nodes) - 1


def unflattened(data: memoryview) -> dict[str, memoryview]:
    """Inverse of `flattened`, whoever wrote it; raises ValueError when the bytes don't fit together."""
    nodes = _listed(data)
    files: dict[str, memoryview] = {}

    def visit(index: int, before: int, path: PurePosixPath) -> None:
        if not 0 <= index < before:  # children come first, so that no folder lies in itself
            raise ValueError(f"its list of files names entry {index} of {before}")
        node = nodes[index]
        if node["kind"] == _FOLDER:
            for name, child in node["children"].items():
                visit(child, index, path / name)
            return
        start, size = node["dataRegion"]["offset"], node["dataRegion"]["size"]
        if start < 0 or size < 0 or start + size > len(data):
            raise ValueError(f"{path} should be {size:,} bytes at {start:,} of {len(data):,}")
        files[str(path)] = data[start : start + size]

    try:
        visit(len(nodes) - 1, len(nodes), PurePosixPath())
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"its list of files lacks {error}") from error
    return files


def _listed(data: memoryview) -> list[Any]:
    """The nodes, from the JSON object that lies at the end in reverse."""
    if len(data) == 0 or data[-1] != ord("{"):
        raise ValueError("it doesn't end in a list of files")
    # The object ends where its brackets do; what lies before it are the files.
    decoder, length = json.JSONDecoder(), 1024
    while True:
        text = bytes(data[-length:])[::-1].decode("latin-1")
        try:
            found, _ = decoder.raw_decode(text)
        except ValueError as error:
            if length >= len(data):
                raise ValueError("its list of files is damaged") from error
            length *= 4
            continue
        nodes = found.get("nodes")
        if not isinstance(nodes, list) or not nodes:
            raise ValueError("its list of files is empty")
        return nodes
