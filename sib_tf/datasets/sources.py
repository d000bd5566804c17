"""Where source files come from: the user's folder, or a checksummed download.

Archives are read member by member and never unpacked to disk, so that no name in them leads anywhere; how much comes
out of them is bounded.
"""

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from sib_tf.errors import InputError

# CIFAR-100's archive unpacks to 184 MB.
MOST_UNPACKED = 512 << 20


def archive(dl_manager, name: str, url: str) -> Path:
    """Returns the path of the archive `name`: from the user's folder where one was named, otherwise downloaded.

    Raises an InputError if the folder does not hold it, or the download failed.
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

    Raises an InputError if it is damaged, lacks one of them or has one twice, or unpacks to more than 512 MB.
    """
    wanted = set(wanted)
    found: dict[str, bytes] = {}
    try:
        with gzip.open(path) as file:
            # To its end, where the checksum over everything stands.
            unpacked = file.read(MOST_UNPACKED + 1)
        if len(unpacked) > MOST_UNPACKED:
            raise tarfile.TarError("it unpacks to more than its data set has")
        with tarfile.open(fileobj=io.BytesIO(unpacked), mode="r:") as tar:
            for member in tar:
                name = Path(member.name).name
                # Links are no files here, and the holes of a sparse file have any size.
                if name in wanted and member.isreg() and not member.issparse():
                    if name in found:
                        raise tarfile.TarError(f"it has {name} twice")
                    found[name] = tar.extractfile(member).read()
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error) as error:
        raise InputError(f"{path} is damaged ({error}); fetch it again.") from error
    if missing := sorted(wanted - set(found)):
        raise InputError(f"{path} lacks {', '.join(missing)}; fetch it again.")
    return found
