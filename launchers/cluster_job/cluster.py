"""The calls to the Kubernetes API that a job needs; their errors explain how to fix them."""

import contextlib
import json
import time
from typing import Any, Iterator, Mapping, Optional, Sequence

import kubernetes
import urllib3
from kubernetes.client import ApiException

from core.errors import UserError
from launchers.cluster_job.kind import Kind, Resource

# Doubling from half a second to two minutes: six minutes in all, for an API server that is being upgraded. All methods
# can be retried: a created job has a unique name, and a deleted one stays deleted.
_RETRY = urllib3.Retry(
    total=10,
    backoff_factor=0.5,
    status_forcelist=(429, 500, 502, 503, 504),
    allowed_methods=None,
    raise_on_status=False,
)

# To connect, and between two reads of a response; without it a call to an API server that has vanished never returns.
_TIMEOUT_S = (10.0, 60.0)

# The Trainer's webhook refuses a job until it has heard of the job's runtime.
_ADMISSION_S = 10.0

_TICK_S = 0.2


class Cluster:
    """The jobs of one kind, and their pods, in one namespace."""

    def __init__(self, namespace: str, kind: Kind, retry: urllib3.Retry = _RETRY):
        """Authenticates as the pod's service account or, outside a pod, with the kubeconfig.

        Args:
          namespace: the jobs' namespace.
          kind: their kind.
          retry: how to retry calls that fail temporarily.

        Raises:
          UserError: no credentials were found.
        """
        self._namespace, self._kind = namespace, kind
        configuration = _login()
        configuration.retries = retry
        client = kubernetes.client.ApiClient(configuration)
        self._core = kubernetes.client.CoreV1Api(client)
        self._objects = kubernetes.client.CustomObjectsApi(client)

    def create(self, manifests: Sequence[Mapping[str, Any]]) -> None:
        """Creates a job.

        Args:
          manifests: its objects, from `Kind.manifests`.

        Raises:
          UserError: the cluster rejects it.
        """
        for resource, manifest in zip(self._kind.resources, manifests, strict=True):
            self._create(resource, manifest)

    def job(self, name: str) -> Optional[Mapping[str, Any]]:
        """Returns a job's current state, None if it does not exist."""
        return self._get(self._kind.resources[-1], name)

    def remove(self, name: str, timeout_s: float) -> bool:
        """Deletes a job's objects if they exist, and waits until they and its pods are gone.

        Args:
          name: the job's name.
          timeout_s: how long to wait.

        Returns:
          Whether they are gone.
        """
        deadline = time.monotonic() + timeout_s
        # The job before what it needs.
        return all(self._remove(resource, name, deadline) for resource in reversed(self._kind.resources))

    def pods(self, job: str) -> Mapping[int, kubernetes.client.V1Pod]:
        """Returns the current pod of each worker of a job, by the worker's number."""
        with self._explain_errors("list"):
            pods = self._core.list_namespaced_pod(
                self._namespace, label_selector=f"{self._kind.job_label}={job}", _request_timeout=_TIMEOUT_S
            ).items
        return {int(pod.metadata.labels[self._kind.index_label]): pod for pod in pods}

    def log(self, pod: str, since_s: Optional[int] = None) -> Iterator[bytes]:
        """Follows a pod's log.

        Args:
          pod: its name.
          since_s: start with the last `since_s` seconds of the log; default: with its first line.

        Yields:
          Chunks of the log, until its container has ended.

        Raises:
          ApiException: the container has not started.
          urllib3.exceptions.HTTPError: the connection was lost, or the log had no new output within the timeout.
        """
        response = self._core.read_namespaced_pod_log(
            pod,
            self._namespace,
            container=self._kind.container,
            follow=True,
            _preload_content=False,
            _request_timeout=_TIMEOUT_S,
            **({} if since_s is None else {"since_seconds": since_s}),
        )
        with contextlib.closing(response):
            yield from response.stream()

    def _create(self, resource: Resource, manifest: Mapping[str, Any]) -> None:
        deadline = time.monotonic() + _ADMISSION_S
        with self._explain_errors("create", resource):
            while True:
                try:
                    self._objects.create_namespaced_custom_object(
                        *self._where(resource), manifest, _request_timeout=_TIMEOUT_S
                    )
                    return
                except ApiException as error:
                    # A previous attempt created it, and its response was lost.
                    if error.status == 409:
                        return
                    if not _is_refused(error) or time.monotonic() > deadline:
                        raise
                time.sleep(_TICK_S)

    def _get(self, resource: Resource, name: str) -> Optional[Mapping[str, Any]]:
        with self._explain_errors("get", resource):
            try:
                return self._objects.get_namespaced_custom_object(
                    *self._where(resource), name, _request_timeout=_TIMEOUT_S
                )
            except ApiException as error:
                if error.status == 404 and not _is_unknown_type(error):
                    return None
                raise

    def _remove(self, resource: Resource, name: str, deadline: float) -> bool:
        with self._explain_errors("delete", resource):
            try:
                # Foreground: the job exists until its last pod is deleted.
                self._objects.delete_namespaced_custom_object(
                    *self._where(resource), name, propagation_policy="Foreground", _request_timeout=_TIMEOUT_S
                )
            except ApiException as error:
                if error.status == 404 and not _is_unknown_type(error):
                    return True
                raise
        while (exists := self._get(resource, name) is not None) and time.monotonic() < deadline:
            time.sleep(_TICK_S)
        return not exists

    def _where(self, resource: Resource) -> tuple[str, str, str, str]:
        return resource.group, resource.version, self._namespace, resource.plural

    @contextlib.contextmanager
    def _explain_errors(self, verb: str, resource: Optional[Resource] = None) -> Iterator[None]:
        """Raises a `UserError` for the errors that the user can fix."""
        try:
            yield
        except ApiException as error:
            explanation = self._explain(error, verb, resource)
            if explanation is None:
                raise
            raise UserError(explanation) from error
        except urllib3.exceptions.MaxRetryError as error:
            raise UserError(f"the cluster's API server does not respond: {error.reason}") from error

    def _explain(self, error: ApiException, verb: str, resource: Optional[Resource]) -> Optional[str]:
        message = _status(error).get("message") or error.reason
        action = f"{verb} {resource.plural if resource else 'pods'}"
        if error.status == 401:
            return f"401: not authenticated by the cluster ({message}); log in again"
        if error.status == 403 and not _is_refused(error):
            return (
                f"403: not allowed to {action} in namespace {self._namespace} ({message}); apply deploy/rbac.yaml there"
            )
        if error.status == 404 and resource and _is_unknown_type(error):
            return (
                f"404: the cluster has no resource type {resource.plural}.{resource.group}; install "
                f"{self._kind.operator}, use another kubeflow.workers.kind, or train with trainer.workers: 1"
            )
        if error.status == 429 or error.status >= 500:
            return f"{error.status}: the cluster's API server failed to {action} after several attempts: {message}"
        if error.status in (400, 403, 404, 422):
            where = f"in namespace {self._namespace} (kubeflow.workers.namespace)"
            return f"{error.status}: {self._kind.name} rejected {where}: {message}"
        return None


def _login() -> kubernetes.client.Configuration:
    configuration = kubernetes.client.Configuration()
    try:
        kubernetes.config.load_incluster_config(configuration)
    except kubernetes.config.ConfigException:
        try:
            kubernetes.config.load_kube_config(client_configuration=configuration)
        except kubernetes.config.ConfigException as error:
            raise UserError(
                "trainer.workers: no credentials for the cluster: neither a pod's service account nor a usable "
                f"kubeconfig ({error}); set KUBECONFIG, or train with trainer.workers: 1"
            ) from error
    return configuration


def _is_refused(error: ApiException) -> bool:
    """Whether an admission webhook, which is part of the operator, has refused an object."""
    return error.status == 403 and "denied the request" in _status(error).get("message", "")


def _is_unknown_type(error: ApiException) -> bool:
    """Whether a 404 is about the resource type rather than one object, whose name it would contain."""
    return not _status(error).get("details", {}).get("name")


def _status(error: ApiException) -> Mapping[str, Any]:
    """Returns the API server's description of an error; empty if a proxy in front of it responded."""
    try:
        status = json.loads(error.body or "")
    except ValueError:
        return {}
    return status if isinstance(status, dict) else {}
