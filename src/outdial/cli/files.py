"""Files that commands write, piece by piece."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from outdial.core.errors import FileError

WavFile = Annotated[
    Path | None,
    typer.Option("--output", metavar="FILE.wav", dir_okay=False, help="Where to; without it standard output."),
]


def require_file(file: Path | None, *, as_json: bool) -> None:
    """Refuse to write a file and JSON to standard output. Raises typer.BadParameter."""
    if as_json and file is None:
        raise typer.BadParameter("--json needs --output: standard output cannot be both.")


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
