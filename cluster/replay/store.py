"""A folder in place of the object store: it holds files, as an object store does, and no empty directories.

<folder>/<bucket>/<key>
"""

import os
import shutil

# URI scheme -> where the launcher copies what is under it in a container.
CONTAINER_FOLDERS = {"minio://": "/minio", "s3://": "/s3", "gs://": "/gcs"}


class Store:
    """The objects of a replay's root."""

    def __init__(self, folder: str):
        """Makes a store.

        Args:
          folder: where the objects are; need not exist.
        """
        self._folder = folder

    def path(self, uri: str) -> str:
        """Returns where the object, or the objects, of a URI are.

        Raises:
          ValueError: the URI is none of an object store.
        """
        return os.path.join(self._folder, _split(uri)[1])

    def download(self, uri: str, target: str) -> None:
        """Copies what is under a URI to a path; what has no object leaves nothing there, as in the launcher."""
        source = self.path(uri)
        if os.path.isdir(source):
            shutil.copytree(source, target, dirs_exist_ok=True)
        elif os.path.exists(source):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copyfile(source, target)

    def upload(self, source: str, uri: str) -> None:
        """Copies a file, or the files of a directory, to a URI. A component may leave an output unwritten.

        Raises:
          OSError: a file can't be read; a link to a directory counts as a file.
        """
        target = self.path(uri)
        if os.path.isdir(source):
            for parent, folders, files in os.walk(source):
                # What is a link the launcher opens as a file.
                links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
                for name in (*files, *links):
                    file = os.path.join(parent, name)
                    _put(file, os.path.normpath(os.path.join(target, os.path.relpath(file, source))))
        elif os.path.exists(source):
            _put(source, target)


def container_path(uri: str) -> str:
    """Returns where the launcher puts what is under a URI.

    Raises:
      ValueError: the URI is none of an object store.
    """
    scheme, rest = _split(uri)
    return f"{CONTAINER_FOLDERS[scheme]}/{rest}"


def _split(uri: str) -> tuple[str, str]:
    """Returns the scheme, and bucket and key."""
    for scheme in CONTAINER_FOLDERS:
        # A path that starts at the root or climbs would leave the store's folder.
        if uri.startswith(scheme) and not {"", ".."} & set(uri.removeprefix(scheme).rstrip("/").split("/")):
            return scheme, uri.removeprefix(scheme)
    raise ValueError(f"{uri}: should be <scheme><bucket>/<key> with one of {', '.join(CONTAINER_FOLDERS)}")


def _put(file: str, target: str) -> None:
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copyfile(file, target)
