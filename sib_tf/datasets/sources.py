"""Where source files come from: the user's folder, or a checksummed download."""

import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from sib_tf.errors import InputError


def archive(dl_manager, name: str, url: str) -> Path:
    """Returns the path of the archive `name`: from the user's folder where one was named, otherwise downloaded.

    Raises:
        InputError: the user's folder does not hold it, or the download failed.
    """
    folder = dl_manager._manual_dir  # The public property raises where the folder does not exist.
    # Where the user named none, tensorflow-datasets makes one up.
    if folder is not None and Path(folder) != Path(dl_manager._download_dir) / "manual":
        path = Path(folder) / name
        if not path.is_file():
            raise InputError(f"data_dir {folder} has no {name}; put it there (from {url}) or name the folder with it.")
        return path
    try:
        return Path(dl_manager.download(url))
    except Exception as error:  # requests, urllib3 and tensorflow-datasets each raise their own.
        raise InputError(
            f"Downloading {url} failed ({type(error).__name__}); fetch {name} by other means and name its folder "
            "with --data_dir."
        ) from error


def read_members(path: Path, wanted: Iterable[str]) -> dict[str, bytes]:
    """Reads the files called `wanted` (last part of their names) from a .tar.gz archive, without unpacking it.

    Raises:
        InputError: the archive is damaged or lacks one of them.
    """
    wanted = set(wanted)
    found = {}
    try:
        with tarfile.open(path, "r:gz") as tar:
            for member in tar:
                name = Path(member.name).name
                if name in wanted and member.isfile():
                    found[name] = tar.extractfile(member).read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise InputError(f"{path} is damaged ({error}); fetch it again.") from error
    if missing := sorted(wanted - set(found)):
        raise InputError(f"{path} lacks {', '.join(missing)}; fetch it again.")
    return found


def open_zip(path: Path) -> zipfile.ZipFile:
    """Opens a zip archive whose members are then read one by one, never unpacked.

    Raises:
        InputError: the archive is damaged.
    """
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"{path} is damaged ({error}); fetch it again.") from error
