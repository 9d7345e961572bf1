"""An authority of the tests' own, and the certificates that it gives and should not have given (openssl makes them)."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

__all__ = ["Authority"]

_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_AUTHORITY: Final = ("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")
# How to make a certificate of the past: the way of openssl 3.4 and later, and the way of those before.
_PAST: Final = (("-not_before", "20200101000000Z", "-not_after", "20200102000000Z"), ("-days", "-1"))


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=30)


class Authority:
    """Keeps everything in ``folder``; ``bundle`` is what clients are to trust."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self.bundle = folder / "ca.pem"
        self._key = folder / "ca.key"
        name = ("-subj", "/CN=authority of a test", "-days", "2")
        _openssl("req", "-x509", *_KEY, "-keyout", self._key, "-out", self.bundle, *name, *_AUTHORITY)

    def certificate(self, name: str, subject: str, *, is_past: bool = False) -> tuple[Path, Path]:
        """A certificate for ``subject`` (``DNS:localhost`` or ``IP:127.0.0.1``) and its key, in files of ``name``."""
        key, request, made = (self._folder / f"{name}.{suffix}" for suffix in ("key", "csr", "pem"))
        names = self._folder / f"{name}.names"
        names.write_text(f"subjectAltName={subject}")
        _openssl("req", *_KEY, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        sign = (
            "x509",
            "-req",
            "-in",
            request,
            "-CA",
            self.bundle,
            "-CAkey",
            self._key,
            "-extfile",
            names,
            "-out",
            made,
        )
        if not is_past:
            _openssl(*sign, "-days", "1")
            return made, key
        try:
            _openssl(*sign, *_PAST[0])
        except subprocess.CalledProcessError:
            _openssl(*sign, *_PAST[1])
        return made, key
