"""Texts on disk, mapped into memory: eight bytes of memory for each, whatever its length."""

import mmap
import tempfile
from typing import Iterable, Iterator, Sequence, Union, overload

import numpy as np


class PackedTexts(Sequence[bytes]):
    """A sequence of texts in an unnamed temporary file, which is deleted when the process ends.

    The system keeps the file's pages in memory while there is room.
    """

    def __init__(self, texts: Iterable[bytes]) -> None:
        """Writes the texts."""
        with tempfile.TemporaryFile() as stream:
            lengths = np.fromiter(map(stream.write, texts), np.int64)
            stream.flush()
            # An empty file can't be mapped into memory.
            self._content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if lengths.any() else b""
        self._ends = np.cumsum(lengths)

    def __len__(self) -> int:
        return self._ends.size

    def __iter__(self) -> Iterator[bytes]:
        start = 0
        for end in self._ends:
            yield self._content[start:end]
            start = end

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...

    def __getitem__(self, index: Union[int, slice]) -> Union[bytes, list[bytes]]:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        row = range(len(self))[index]
        return self._content[self._ends[row - 1] if row else 0 : self._ends[row]]
