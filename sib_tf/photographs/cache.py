"""Where what is made once is kept: the platform's folder for caches."""

import os
import sys
from pathlib import Path

_NAME = "sib_tf"


def folder() -> Path:
    """Returns the folder of this project's caches; it need not be there.

    SIB_TF_CACHE names another; else %LOCALAPPDATA% on Windows, ~/Library/Caches on macOS, XDG_CACHE_HOME or ~/.cache.
    """
    if own := os.environ.get("SIB_TF_CACHE"):
        return Path(own)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / _NAME / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / _NAME
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / _NAME
