"""The few calls of the Kubernetes API that a job takes, with what is refused told as what to do about it."""

import contextlib
import json
import time
from typing import Any, Iterator, Mapping, Optional, Sequence

import kubernetes
import urllib3
from kubernetes.client import ApiException

from core.errors import UserError
from launchers.tfjob import manifest

# Doubling from half a second to two minutes: six minutes for an API server that is being upgraded. Any method: what is
# created has a name of its own, what is deleted is gone.
_RETRY = urllib3.Retry(
    total=10,
    backoff_factor=0.5,
    status_forcelist=(429, 500, 502, 503, 504),
    allowed_methods=None,
    raise_on_status=False,
)

# To connect, and for the next bytes of an answer; an API server that is gone without a word would hold a call for ever.
_TIMEOUT_S = (10.0, 60.0)

_TICK_S = 0.2


class Cluster:
    """The TFJobs and pods of one namespace."""

    def __init__(self, namespace: str, retry: urllib3.Retry = _RETRY):
        """Logs in as the pod's service account; where this is no pod, as the kubeconfig says.

        Args:
          namespace: where the jobs are.
          retry: how calls that fail for a moment are tried again.

        Raises:
          UserError: there is no login.
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
          UserError: the cluster does not take it.
        """
        with _explained("create tfjobs", self._namespace):
            try:
                self._objects.create_namespaced_custom_object(*self._where, job, _request_timeout=_TIMEOUT_S)
            except ApiException as error:
                # The answer to an attempt before this one was lost.
                if error.status != 409:
                    raise

    def job(self, name: str) -> Optional[Mapping[str, Any]]:
        """Returns a job as it is now, None where there is none."""
        with _explained("get tfjobs", self._namespace):
            try:
                return self._objects.get_namespaced_custom_object(*self._where, name, _request_timeout=_TIMEOUT_S)
            except ApiException as error:
                if error.status == 404 and not _is_unknown_kind(error):
                    return None
                raise

    def remove(self, name: str, timeout_s: float) -> bool:
        """Deletes a job, if there is one, and waits until it and its pods are gone.

        Args:
          name: the job's.
          timeout_s: how long to wait.

        Returns:
          Whether all is gone.
        """
        with _explained("delete tfjobs", self._namespace):
            try:
                # In the foreground: the job is there for as long as a pod of it is.
                self._objects.delete_namespaced_custom_object(
                    *self._where, name, propagation_policy="Foreground", _request_timeout=_TIMEOUT_S
                )
            except ApiException as error:
                if error.status == 404 and not _is_unknown_kind(error):
                    return True
                raise
        deadline = time.monotonic() + timeout_s
        while (job_is_there := self.job(name) is not None) and time.monotonic() < deadline:
            time.sleep(_TICK_S)
        return not job_is_there

    def pods(self, job: str) -> Sequence[kubernetes.client.V1Pod]:
        """Returns the pods that a job has at present."""
        with _explained("list pods", self._namespace):
            selector = f"{manifest.JOB_LABEL}={job}"
            return self._core.list_namespaced_pod(
                self._namespace, label_selector=selector, _request_timeout=_TIMEOUT_S
            ).items

    def log(self, pod: str, since_s: Optional[int] = None) -> Iterator[bytes]:
        """Follows what a pod writes.

        Args:
          pod: its name.
          since_s: begin with what was written so many seconds ago; None is with all.

        Yields:
          Pieces of it, until its container has ended.

        Raises:
          ApiException: it has not started to write.
          urllib3.exceptions.HTTPError: the connection broke, or nothing was written for a while.
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
                "trainer.workers: no login to a cluster: this is no pod with a service account's token, and the "
                f"kubeconfig does not do ({error}); give one, or train with trainer.workers: 1"
            ) from error
    return configuration


@contextlib.contextmanager
def _explained(action: str, namespace: str) -> Iterator[None]:
    """Raises what the user can mend as a UserError."""
    try:
        yield
    except ApiException as error:
        sentence = _sentence(error, action, namespace)
        if sentence is None:
            raise
        raise UserError(sentence) from error
    except urllib3.exceptions.MaxRetryError as error:
        raise UserError(f"the cluster's API server does not answer: {error.reason}") from error


def _sentence(error: ApiException, action: str, namespace: str) -> Optional[str]:
    message = _status(error).get("message") or error.reason
    if error.status == 401:
        return f"the cluster does not accept this login ({message}); log in again"
    if error.status == 403:
        return f"this login may not {action} in namespace {namespace}: apply deploy/rbac.yaml there ({message})"
    if error.status == 404 and _is_unknown_kind(error):
        return (
            "the cluster knows no TFJobs: install Kubeflow's Training Operator v1, which defines "
            f"{manifest.PLURAL}.{manifest.GROUP}, or train with trainer.workers: 1"
        )
    if error.status == 429 or error.status >= 500:
        return f"the cluster's API server can't {action} at the moment, tried again in vain: {error.status} {message}"
    if error.status in (400, 404, 422):
        return f"the cluster does not take the TFJob in namespace {namespace} (kubeflow.workers.namespace): {message}"
    return None


def _is_unknown_kind(error: ApiException) -> bool:
    """Whether a 404 means the kind of object, not this one: only then does it name none."""
    return not _status(error).get("details", {}).get("name")


def _status(error: ApiException) -> Mapping[str, Any]:
    """What the API server says of an error; empty where something before it has answered."""
    try:
        status = json.loads(error.body or "")
    except ValueError:
        return {}
    return status if isinstance(status, dict) else {}
