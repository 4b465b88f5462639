"""Files that commands write, piece by piece."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path

import typer

from outdial.core.errors import FileError


async def write_pieces(pieces: AsyncIterator[bytes], file: Path | None) -> int:
    """Write to a file, or to standard output; return how many lines that was. Raises FileError."""
    lines = 0
    try:
        with nullcontext(typer.get_binary_stream("stdout")) if file is None else file.open("wb") as out:
            async for piece in pieces:
                out.write(piece)
                lines += piece.count(b"\n")
            out.flush()
    except OSError as error:
        raise FileError(f"{file or 'Standard output'} cannot be written: {error.strerror}.") from error
    return lines
