"""Small folders to be signed, and keys that sign them."""

from pathlib import Path

from bintally.signatures.keys import generate

FILES = {
    "card.json": b'{"name": "tiny"}\n',
    "model.onnx": bytes(range(256)) * 3,
    "maps/é.bin": b"\x00",
    "maps/empty": b"",
}


def make_folder(folder: Path, files: dict[str, bytes] | None = None) -> Path:
    for name, data in (FILES if files is None else files).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def make_key(folder: Path, name: str = "mara.key") -> tuple[Path, Path]:
    """A private key's file and the public one's."""
    folder.mkdir(parents=True, exist_ok=True)
    generate(folder / name)
    return folder / name, folder / f"{name}.pub"
