"""Versions of a pipeline on the server: the same file is uploaded once."""

import dataclasses
from typing import Any, Optional

import kfp

from cluster import listing
from cluster.connection import hushed
from cluster.package import Package
from core.errors import UserError


@dataclasses.dataclass(frozen=True)
class Version:
    """An uploaded version of a pipeline.

    Attributes:
      pipeline_id: of the pipeline.
      id: of the version.
      name: of the version.
      new: whether it was not there before.
    """

    pipeline_id: str
    id: str
    name: str
    new: bool


def upload(client: kfp.Client, content: Package, name: Optional[str]) -> Version:
    """Makes a compiled file a version of the pipeline of its name, unless it is there already.

    Args:
      client: of the server.
      content: the file.
      name: of the version; None takes digits of the content's digest.

    Raises:
      UserError: the version is there with another content, or the server did not do it.
    """
    name = name or content.version
    namespace = client.get_user_namespace() or None
    pipeline = next(
        listing.pages(client.list_pipelines, "pipelines", namespace=namespace, filter=listing.called(content.name)),
        None,
    )
    if pipeline is None:
        with hushed():
            # Makes a first version too, named like the pipeline; the client has no call that makes none.
            pipeline = client.upload_pipeline(content.path, content.name, namespace=namespace)
    # The server gives the content back in another form, so the description says whether it is the same.
    digest = f"sha256:{content.digest}"
    existing = _find(client, pipeline.pipeline_id, name)
    if existing is None:
        with hushed():
            made = client.upload_pipeline_version(
                content.path, name, pipeline_id=pipeline.pipeline_id, description=digest
            )
        return Version(pipeline.pipeline_id, made.pipeline_version_id, name, new=True)
    if existing.description != digest:
        raise UserError(
            f"version {name}: pipeline {content.name} has one of this name with another content; choose another name"
        )
    return Version(pipeline.pipeline_id, existing.pipeline_version_id, name, new=False)


def _find(client: kfp.Client, pipeline_id: str, name: str) -> Any:
    found = listing.pages(
        client.list_pipeline_versions, "pipeline_versions", pipeline_id=pipeline_id, filter=listing.called(name)
    )
    return next(found, None)
