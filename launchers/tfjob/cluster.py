"""The calls to the Kubernetes API that a job needs; their errors explain how to fix them."""

import contextlib
import json
import time
from typing import Any, Iterator, Mapping, Optional, Sequence

import kubernetes
import urllib3
from kubernetes.client import ApiException

from core.errors import UserError
from launchers.tfjob import manifest

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

_TICK_S = 0.2


class Cluster:
    """The TFJobs and pods of one namespace."""

    def __init__(self, namespace: str, retry: urllib3.Retry = _RETRY):
        """Authenticates as the pod's service account or, outside a pod, with the kubeconfig.

        Args:
          namespace: the jobs' namespace.
          retry: how to retry calls that fail temporarily.

        Raises:
          UserError: no credentials were found.
        """
        self._namespace = namespace
        configuration = _login()
        configuration.retries = retry
        client = kubernetes.client.ApiClient(configuration)
        self._core = kubernetes.client.CoreV1Api(client)
        self._objects = kubernetes.client.CustomObjectsApi(client)
        self._where = (manifest.GROUP, manifest.VERSION, namespace, manifest.PLURAL)

    def create(self, job: Mapping[str, Any]) -> None:
        """Creates a job.

        Raises:
          UserError: the cluster rejects it.
        """
        with _explain_errors("create tfjobs", self._namespace):
            try:
                self._objects.create_namespaced_custom_object(*self._where, job, _request_timeout=_TIMEOUT_S)
            except ApiException as error:
                # 409: a previous attempt created it, and its response was lost.
                if error.status != 409:
                    raise

    def job(self, name: str) -> Optional[Mapping[str, Any]]:
        """Returns a job's current state, None if it does not exist."""
        with _explain_errors("get tfjobs", self._namespace):
            try:
                return self._objects.get_namespaced_custom_object(*self._where, name, _request_timeout=_TIMEOUT_S)
            except ApiException as error:
                if error.status == 404 and not _is_unknown_kind(error):
                    return None
                raise

    def remove(self, name: str, timeout_s: float) -> bool:
        """Deletes a job if it exists, and waits until it and its pods are gone.

        Args:
          name: the job's name.
          timeout_s: how long to wait.

        Returns:
          Whether they are gone.
        """
        with _explain_errors("delete tfjobs", self._namespace):
            try:
                # Foreground: the job exists until its last pod is deleted.
                self._objects.delete_namespaced_custom_object(
                    *self._where, name, propagation_policy="Foreground", _request_timeout=_TIMEOUT_S
                )
            except ApiException as error:
                if error.status == 404 and not _is_unknown_kind(error):
                    return True
                raise
        deadline = time.monotonic() + timeout_s
        while (exists := self.job(name) is not None) and time.monotonic() < deadline:
            time.sleep(_TICK_S)
        return not exists

    def pods(self, job: str) -> Sequence[kubernetes.client.V1Pod]:
        """Returns a job's current pods."""
        with _explain_errors("list pods", self._namespace):
            selector = f"{manifest.JOB_LABEL}={job}"
            return self._core.list_namespaced_pod(
                self._namespace, label_selector=selector, _request_timeout=_TIMEOUT_S
            ).items

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
            container=manifest.CONTAINER,
            follow=True,
            _preload_content=False,
            _request_timeout=_TIMEOUT_S,
            **({} if since_s is None else {"since_seconds": since_s}),
        )
        with contextlib.closing(response):
            yield from response.stream()


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


@contextlib.contextmanager
def _explain_errors(action: str, namespace: str) -> Iterator[None]:
    """Raises a `UserError` for the errors that the user can fix."""
    try:
        yield
    except ApiException as error:
        explanation = _explain(error, action, namespace)
        if explanation is None:
            raise
        raise UserError(explanation) from error
    except urllib3.exceptions.MaxRetryError as error:
        raise UserError(f"the cluster's API server does not respond: {error.reason}") from error


def _explain(error: ApiException, action: str, namespace: str) -> Optional[str]:
    message = _status(error).get("message") or error.reason
    if error.status == 401:
        return f"401: not authenticated by the cluster ({message}); log in again"
    if error.status == 403:
        return f"403: not allowed to {action} in namespace {namespace} ({message}); apply deploy/rbac.yaml there"
    if error.status == 404 and _is_unknown_kind(error):
        return (
            f"404: the cluster has no resource type {manifest.PLURAL}.{manifest.GROUP}; install Kubeflow's Training "
            "Operator v1, or train with trainer.workers: 1"
        )
    if error.status == 429 or error.status >= 500:
        return f"{error.status}: the cluster's API server failed to {action} after several attempts: {message}"
    if error.status in (400, 404, 422):
        return f"{error.status}: TFJob rejected in namespace {namespace} (kubeflow.workers.namespace): {message}"
    return None


def _is_unknown_kind(error: ApiException) -> bool:
    """Whether a 404 is about the resource type rather than one object, whose name it would contain."""
    return not _status(error).get("details", {}).get("name")


def _status(error: ApiException) -> Mapping[str, Any]:
    """Returns the API server's description of an error; empty if a proxy in front of it responded."""
    try:
        status = json.loads(error.body or "")
    except ValueError:
        return {}
    return status if isinstance(status, dict) else {}
