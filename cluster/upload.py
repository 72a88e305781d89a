"""Versions of a pipeline on the server; each file is uploaded only once."""

import dataclasses
from typing import Any, Optional

import kfp

from cluster import paging
from cluster.compiled_file import CompiledFile
from cluster.connection import suppress_output
from core.errors import UserError


@dataclasses.dataclass(frozen=True)
class UploadedVersion:
    """A version of a pipeline on the server.

    Attributes:
      pipeline_id: id of the pipeline.
      id: id of the version.
      name: name of the version.
      new: whether it was uploaded just now.
    """

    pipeline_id: str
    id: str
    name: str
    new: bool


def upload(client: kfp.Client, file: CompiledFile, name: Optional[str]) -> UploadedVersion:
    """Uploads a compiled file as a version of the pipeline of its name, unless that version exists.

    Args:
      client: client of the server.
      file: the compiled file.
      name: name of the version; None takes the first digits of the file's digest.

    Raises:
      UserError: the version exists with another content, or a request failed.
    """
    name = name or file.version
    namespace = client.get_user_namespace() or None
    pipeline = next(
        paging.list_all(client.list_pipelines, "pipelines", namespace=namespace, filter=paging.name_filter(file.name)),
        None,
    )
    if pipeline is None:
        with suppress_output():
            # Also creates a first version, named like the pipeline; the client has no call without that.
            pipeline = client.upload_pipeline(file.path, file.name, namespace=namespace)
    # The server returns the content in another form, so the digest in the description is compared.
    digest = f"sha256:{file.digest}"
    existing = _find_version(client, pipeline.pipeline_id, name)
    if existing is None:
        with suppress_output():
            created = client.upload_pipeline_version(
                file.path, name, pipeline_id=pipeline.pipeline_id, description=digest
            )
        return UploadedVersion(pipeline.pipeline_id, created.pipeline_version_id, name, new=True)
    if existing.description != digest:
        raise UserError(f"version {name}: exists in pipeline {file.name} with another content; choose another name")
    return UploadedVersion(pipeline.pipeline_id, existing.pipeline_version_id, name, new=False)


def _find_version(client: kfp.Client, pipeline_id: str, name: str) -> Any:
    versions = paging.list_all(
        client.list_pipeline_versions, "pipeline_versions", pipeline_id=pipeline_id, filter=paging.name_filter(name)
    )
    return next(versions, None)
