"""A folder that replaces the object store: like an object store, it contains files and no empty directories.

<folder>/<bucket>/<key>
"""

import os
import shutil

# URI scheme -> where the launcher copies its objects in a container. Not `gs://`: tasks open it without the launcher.
CONTAINER_FOLDERS = {"minio://": "/minio", "s3://": "/s3"}


class ObjectStore:
    """The objects of a replay's root."""

    def __init__(self, folder: str):
        """Prepares a store.

        Args:
          folder: folder of the objects; need not exist.
        """
        self._folder = folder

    def path(self, uri: str) -> str:
        """Returns the local path of a URI's object or objects.

        Raises:
          ValueError: the URI does not belong to an object store.
        """
        return os.path.join(self._folder, _split(uri)[1])

    def download(self, uri: str, target: str) -> None:
        """Copies the objects of a URI to a path. Without objects nothing is created, as with the launcher."""
        source = self.path(uri)
        if os.path.isdir(source):
            shutil.copytree(source, target, dirs_exist_ok=True)
        elif os.path.exists(source):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copyfile(source, target)

    def upload(self, source: str, uri: str) -> None:
        """Copies a file, or the files of a directory, to a URI. A missing source is ignored: outputs may be unwritten.

        Raises:
          OSError: a file can't be read; a link to a directory counts as a file.
        """
        target = self.path(uri)
        if os.path.isdir(source):
            for parent, folders, files in os.walk(source):
                # The launcher opens a link to a directory as a file.
                links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
                for name in (*files, *links):
                    file = os.path.join(parent, name)
                    _put(file, os.path.normpath(os.path.join(target, os.path.relpath(file, source))))
        elif os.path.exists(source):
            _put(source, target)


def container_path(uri: str) -> str:
    """Returns the path in a container to which the launcher copies a URI.

    Raises:
      ValueError: the URI does not belong to an object store.
    """
    scheme, rest = _split(uri)
    return f"{CONTAINER_FOLDERS[scheme]}/{rest}"


def _split(uri: str) -> tuple[str, str]:
    """Returns the scheme, and the bucket with the key."""
    for scheme in CONTAINER_FOLDERS:
        # An absolute path, or one with "..", would be outside of the store's folder.
        if uri.startswith(scheme) and not {"", ".."} & set(uri.removeprefix(scheme).rstrip("/").split("/")):
            return scheme, uri.removeprefix(scheme)
    raise ValueError(f"{uri}: should be <scheme><bucket>/<key> with one of {', '.join(CONTAINER_FOLDERS)}")


def _put(file: str, target: str) -> None:
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copyfile(file, target)
