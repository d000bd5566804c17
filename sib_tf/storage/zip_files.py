"""ZIP archives whose directory is whole, and whose members are what was written."""

import os
import zipfile
from pathlib import Path

_END_LENGTH = 22
_COUNT_IS_ELSEWHERE = 0xFFFF


def open_zip(path: str | os.PathLike, most_bytes: int | None = None) -> zipfile.ZipFile:
    """Opens an archive for reading; it may unpack to `most_bytes`, or with None to any number.

    zipfile reads a directory by its length in bytes: a broken length inside makes it pass over members. Their number,
    which the archive records, is compared therefore, and so is every member's name with that in its own header: one
    that is called otherwise might not be looked for. Raises BadZipFile, and whatever else broken bytes lead zipfile to.
    """
    archive = zipfile.ZipFile(path)
    entries = archive.infolist()
    size = sum(entry.file_size for entry in entries)
    with Path(path).open("rb") as file:
        file.seek(-_END_LENGTH - len(archive.comment), os.SEEK_END)
        recorded = int.from_bytes(file.read(_END_LENGTH)[10:12], "little")
    if recorded not in (len(entries), _COUNT_IS_ELSEWHERE):
        raise zipfile.BadZipFile(f"it has {len(entries)} of {recorded} members")
    if most_bytes is not None and size > most_bytes:
        raise zipfile.BadZipFile(f"it unpacks to {size:,} bytes; at most {most_bytes:,} are read")
    for entry in entries:
        archive.open(entry).close()
    return archive


def check_torch_file(path: str | os.PathLike) -> None:
    """Raises if the checksums of a file of PyTorch's, which it does not compare itself, are not those of its members.

    Files of before PyTorch 1.6 are no archives, and have none.
    """
    with Path(path).open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return
    with open_zip(path, most_bytes=Path(path).stat().st_size) as archive:  # PyTorch packs nothing.
        if archive.testzip():
            raise zipfile.BadZipFile("its checksums differ")
