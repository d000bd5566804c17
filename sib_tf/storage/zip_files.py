"""ZIP archives whose directory is whole."""

import os
import zipfile
from pathlib import Path

_END_LENGTH = 22
_COUNT_IS_ELSEWHERE = 0xFFFF


def open_zip(path: str | os.PathLike) -> zipfile.ZipFile:
    """Opens an archive for reading.

    zipfile reads a directory by its length in bytes: a broken length inside makes it pass over members. Their number,
    which the archive records, is compared therefore, and so is every member's name with that in its own header: one
    that is called otherwise might not be looked for.

    Raises:
        zipfile.BadZipFile: no archive, or members are missing; and whatever else broken bytes lead zipfile to.
    """
    archive = zipfile.ZipFile(path)
    with Path(path).open("rb") as file:
        file.seek(-_END_LENGTH - len(archive.comment), os.SEEK_END)
        recorded = int.from_bytes(file.read(_END_LENGTH)[10:12], "little")
    if recorded not in (len(archive.infolist()), _COUNT_IS_ELSEWHERE):
        archive.close()
        raise zipfile.BadZipFile(f"it has {len(archive.infolist())} of {recorded} members")
    for entry in archive.infolist():
        archive.open(entry).close()
    return archive
