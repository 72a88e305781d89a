"""An API server for jobs, pods and their logs, and an operator that starts the workers as local processes.

`TFJobs` handles a job that has only workers as the Training Operator 1.9 does. It sets TF_CONFIG. A worker that exits
with 128 or more is restarted in a new pod, a lower status fails the job (restartPolicy ExitCode). The job succeeds when
worker 0 does; pods that are still running are then stopped (cleanPodPolicy Running).

`TrainJobs` handles a TrainJob with a runtime of its own as the Trainer 2, JobSet and Kubernetes' Job controller do: an
exit status for which the Job's podFailurePolicy has a rule fails the job, another one restarts all pods, up to
`maxRestarts`. The job is complete when the indexes of the Job's successPolicy are. A runtime lives as long as a job
uses it, and the webhook does not know a runtime immediately after it was created.
"""

import contextlib
import copy
import datetime
import http.server
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
import uuid

import portpicker
import yaml

from launchers.cluster_job import tfjob, trainjob
from tests.launchers.cluster_job import crd

_OBJECTS = re.compile(r"/apis/([^/]+)/([^/]+)/namespaces/([^/]+)/([^/]+)(?:/([^/]+))?")
_PODS = re.compile(r"/api/v1/namespaces/([^/]+)/pods(?:/([^/]+)/log)?")
_TICK_S = 0.02


class Pod:
    """One attempt of a worker: a process, and its log."""

    def __init__(self, name, labels, container, environment, folder):
        self.name, self.labels = name, labels
        self.uid, self._container = str(uuid.uuid4()), container["name"]
        self.log = folder / f"{self.uid}.log"
        # So that the command's `python` is this interpreter.
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
        with open(self.log, "wb") as output:
            self.process = subprocess.Popen(
                container["command"],
                cwd=container["workingDir"],
                env={"PATH": path, "HOME": os.environ["HOME"], **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def exit_code(self):
        status = self.process.poll()
        return 128 - status if status is not None and status < 0 else status

    def end(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def as_json(self):
        code = self.exit_code
        phase = "Running" if code is None else "Succeeded" if code == 0 else "Failed"
        state = {"running": {}} if code is None else {"terminated": {"exitCode": code, "reason": "Error"}}
        container = {
            "name": self._container,
            "image": "i",
            "imageID": "i",
            "ready": True,
            "restartCount": 0,
            "state": state,
        }
        return {
            "metadata": {"name": self.name, "uid": self.uid, "labels": self.labels},
            "status": {"phase": phase, "containerStatuses": [container]},
        }


class Cluster:
    """The state of a cluster; its operator and its API server run until it is closed.

    Attributes:
      jobs: by name.
      runtimes: the same of the runtimes of TrainJobs.
      pods: by job and index.
      created: every job that was ever created.
      failures: (method, part of the path) -> [responses to send first, each (status, body)].
      is_full: whether no more pods can be started.
    """

    def __init__(self, folder, kind="tfjob"):
        self.jobs, self.runtimes, self.pods, self.created, self.failures = {}, {}, {}, [], {}
        self.is_full = False
        self.lock, self._closed = threading.RLock(), threading.Event()
        self.folder = pathlib.Path(folder)
        self._operator = {"tfjob": TFJobs, "trainjob": TrainJobs}[kind](self)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._threads = [threading.Thread(target=work) for work in (self._server.serve_forever, self._operate)]
        for thread in self._threads:
            thread.start()

    def objects(self, group, version, plural):
        """Returns the objects of a resource type by name; None if the cluster does not have the type."""
        resources = self._operator.kind.resources
        stores = dict(zip(resources, [self.runtimes, self.jobs][-len(resources) :], strict=True))
        return stores.get((group, version, plural))

    def kubeconfig(self):
        """Writes a kubeconfig for this cluster; returns its path."""
        file = self.folder / "kubeconfig"
        server = f"http://127.0.0.1:{self._server.server_port}"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        }
        file.write_text(yaml.safe_dump(config))
        return str(file)

    def close(self):
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join()
        for pods in self.pods.values():
            for pod in pods.values():
                pod.end()

    def create(self, manifest, store):
        """Creates an object; returns (status, body)."""
        name = manifest["metadata"]["name"]
        if problems := crd.problems(manifest):
            return 422, _status(422, "Invalid", "; ".join(problems))
        if name in store:
            return 409, _status(409, "AlreadyExists", f'"{name}" already exists', name)
        if store is self.jobs and (refusal := self._operator.refuse(manifest)):
            message = f'admission webhook "validator.trainjob.trainer.kubeflow.org" denied the request: {refusal}'
            return 403, _status(403, "Forbidden", message)
        manifest["metadata"]["uid"] = str(uuid.uuid4())
        store[name] = manifest
        if store is self.jobs:
            manifest["status"] = {"conditions": []}
            manifest["addresses"] = [
                f"localhost:{portpicker.pick_unused_port()}" for _ in range(self._operator.count(manifest))
            ]
            self.pods[name] = {}
            self.created.append(copy.deepcopy(manifest))
            _set_condition(manifest, "Created", "created")
        return 201, manifest

    def _operate(self):
        while not self._closed.wait(_TICK_S):
            with self.lock:
                for job in list(self.jobs.values()):
                    self._reconcile(job)
                for name, runtime in list(self.runtimes.items()):
                    if "deletionTimestamp" in runtime["metadata"] and name not in self.jobs:
                        del self.runtimes[name]

    def _reconcile(self, job):
        name = job["metadata"]["name"]
        pods = self.pods[name]
        if "deletionTimestamp" in job["metadata"]:
            for pod in pods.values():
                pod.end()
            del self.jobs[name], self.pods[name]
        elif has_condition(job, self._operator.kind.succeeded) or has_condition(job, "Failed"):
            for index, pod in list(pods.items()):
                if pod.exit_code is None:
                    pod.end()
                    del pods[index]
        elif not self.is_full:
            self._operator.reconcile(job, pods)


class TFJobs:
    """The Training Operator."""

    kind = tfjob.KIND

    def __init__(self, cluster):
        self._cluster = cluster

    def refuse(self, job):
        return None

    def count(self, job):
        return job["spec"]["tfReplicaSpecs"]["Worker"]["replicas"]

    def reconcile(self, job, pods):
        for index in range(self.count(job)):
            code = pods[index].exit_code if index in pods else None
            if index not in pods:
                pods[index] = self._pod(job, index)
                _set_condition(job, "Running", "TFJob is running.")
            elif code == 0 and index == 0:
                _set_condition(job, "Succeeded", "TFJob successfully completed.")
            elif code and code >= 128 and job["spec"]["runPolicy"]["backoffLimit"]:
                del pods[index]
                _set_condition(job, "Restarting", "job is restarting because Worker replica(s) failed.")
            elif code:
                _set_condition(job, "Failed", "job is failing because Worker replica(s) failed.")

    def _pod(self, job, index):
        name = job["metadata"]["name"]
        (container,) = job["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"]["containers"]
        environment = {variable["name"]: variable["value"] for variable in container["env"]}
        cluster = {"worker": job["addresses"]}
        tf_config = {"cluster": cluster, "task": {"type": "worker", "index": index}, "environment": "cloud"}
        labels = {self.kind.job_label: name, self.kind.index_label: str(index)}
        return Pod(
            f"{name}-worker-{index}",
            labels,
            container,
            {**environment, "TF_CONFIG": json.dumps(tf_config)},
            self._cluster.folder,
        )


class TrainJobs:
    """The Trainer, JobSet and the Job controller."""

    kind = trainjob.KIND

    def __init__(self, cluster):
        self._cluster = cluster
        self._known, self._restarts = set(), {}

    def refuse(self, job):
        runtime = self._cluster.runtimes.get(job["spec"]["runtimeRef"]["name"], {}).get("metadata", {}).get("uid")
        if runtime in self._known:
            return None
        self._known.add(runtime)
        return "spec.runtimeRef: Invalid value: specified trainingRuntime must be created before the TrainJob"

    def count(self, job):
        return self._runtime(job)["mlPolicy"]["numNodes"]

    def reconcile(self, job, pods):
        job_set = self._runtime(job)["template"]["spec"]
        (spec,) = [each["template"]["spec"] for each in job_set["replicatedJobs"]]
        if not pods:
            pods.update({index: self._pod(job, index, spec["template"]) for index in range(self.count(job))})
        codes = {index: pod.exit_code for index, pod in pods.items()}
        (failure_rule,), (success_rule,) = spec["podFailurePolicy"]["rules"], spec["successPolicy"]["rules"]
        failed = [code for code in codes.values() if code]
        restarts = self._restarts.setdefault(job["metadata"]["uid"], 0)
        if all(codes[int(index)] == 0 for index in success_rule["succeededIndexes"].split(",")):
            _set_condition(job, "Complete", "jobset completed successfully")
        elif any(code in failure_rule["onExitCodes"]["values"] for code in failed):
            _set_condition(job, "Failed", "jobset failed due to one or more job failures")
        elif failed and restarts == job_set["failurePolicy"]["maxRestarts"]:
            _set_condition(job, "Failed", "jobset failed due to reaching max number of restarts")
        elif failed:
            self._restarts[job["metadata"]["uid"]] += 1
            for pod in pods.values():
                pod.end()
            pods.clear()

    def _runtime(self, job):
        return self._cluster.runtimes[job["spec"]["runtimeRef"]["name"]]["spec"]

    def _pod(self, job, index, template):
        name = job["metadata"]["name"]
        (container,) = template["spec"]["containers"]
        annotations = {"metadata.annotations['batch.kubernetes.io/job-completion-index']": str(index)}
        environment = {}
        for variable in container["env"]:
            if "valueFrom" in variable:
                value = annotations[variable["valueFrom"]["fieldRef"]["fieldPath"]]
            else:
                value = re.sub(r"\$\((\w+)\)", lambda match: environment[match[1]], variable["value"])
            environment[variable["name"]] = value
        for i, address in enumerate(job["addresses"]):
            host = f"{name}-node-0-{i}.{name}.{job['metadata']['namespace']}.svc:2222"
            assert host in environment["TF_CONFIG"]
            environment["TF_CONFIG"] = environment["TF_CONFIG"].replace(host, address)
        labels = {self.kind.job_label: name, self.kind.index_label: str(index)}
        suffix = uuid.uuid4().hex[:5]
        return Pod(f"{name}-node-0-{index}-{suffix}", labels, container, environment, self._cluster.folder)


def _set_condition(job, kind, message):
    dropped = {kind, *({"Running", "Restarting"} if kind in ("Running", "Restarting") else ())}
    conditions = [condition for condition in job["status"]["conditions"] if condition["type"] not in dropped]
    for condition in conditions:
        if condition["type"] == "Running" and kind in ("Succeeded", "Failed"):
            condition["status"] = "False"
    conditions.append({"type": kind, "status": "True", "message": message})
    job["status"]["conditions"] = conditions


def has_condition(job, kind):
    return any(c["type"] == kind and c["status"] == "True" for c in job["status"]["conditions"])


def _status(code, reason, message, name=None):
    details = {"name": name, "group": "kubeflow.org"} if name else {}
    return {
        "kind": "Status",
        "status": "Failure",
        "message": message,
        "reason": reason,
        "details": details,
        "code": code,
    }


def forbidden(verb):
    message = f'tfjobs.kubeflow.org is forbidden: User "system:serviceaccount:kubeflow:pipeline-runner" cannot {verb}'
    return 403, _status(403, "Forbidden", message)


NO_SUCH_KIND = (404, "404 page not found\n")


def _handler(cluster):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            self._respond()

        do_POST = do_DELETE = do_GET

        def _respond(self):
            url = urllib.parse.urlparse(self.path)
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
            for (method, part), responses in cluster.failures.items():
                if responses and method == self.command and part in url.path:
                    return self._send(*responses.pop(0))
            if (match := _PODS.fullmatch(url.path)) and match[2]:
                return self._follow_log(match[2])
            with cluster.lock:
                self._send(*(self._pods(url) if match else self._objects(_OBJECTS.fullmatch(url.path), body)))

        def _objects(self, match, body):
            group, version, _, plural, name = match.groups()
            store = cluster.objects(group, version, plural)
            if store is None:
                return NO_SUCH_KIND
            if self.command == "POST":
                return cluster.create(body, store)
            if name not in store:
                return 404, _status(404, "NotFound", f'{plural}.{group} "{name}" not found', name)
            if self.command == "DELETE":
                store[name]["metadata"]["deletionTimestamp"] = datetime.datetime.now().isoformat()
            return 200, store[name]

        def _pods(self, url):
            label, _, value = urllib.parse.parse_qs(url.query)["labelSelector"][0].partition("=")
            pods = [pod for pods in cluster.pods.values() for pod in pods.values() if pod.labels[label] == value]
            items = [pod.as_json() for pod in pods]
            return 200, {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}

        def _send(self, status, body):
            content = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if isinstance(body, str) else "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _follow_log(self, name):
            with cluster.lock:
                pods = [pod for pods in cluster.pods.values() for pod in pods.values() if pod.name == name]
            if not pods:
                return self._send(404, _status(404, "NotFound", f'pods "{name}" not found', name))
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            with contextlib.suppress(OSError), open(pods[0].log, "rb") as log:
                has_ended = False
                while not has_ended:
                    has_ended = pods[0].exit_code is not None
                    if chunk := log.read():
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                    time.sleep(_TICK_S)
                self.wfile.write(b"0\r\n\r\n")

    return Handler
