"""An API server for TFJobs, pods and their logs, and an operator that starts replicas as local processes.

The operator handles a job that has only workers as the Training Operator 1.9 does. It sets TF_CONFIG, labels and names.
A worker that exits with 128 or more is restarted in a new pod, a lower status fails the job (restartPolicy ExitCode).
The job succeeds when worker 0 does; pods that are still running are then stopped (cleanPodPolicy Running).
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

from launchers.tfjob import manifest
from tests.launchers.tfjob import crd

_JOBS = re.compile(r"/apis/kubeflow.org/v1/namespaces/([^/]+)/tfjobs(?:/([^/]+))?")
_PODS = re.compile(r"/api/v1/namespaces/([^/]+)/pods(?:/([^/]+)/log)?")
_TICK_S = 0.02


class Pod:
    """One attempt of a worker: a process, and its log."""

    def __init__(self, job, index, folder):
        self.name = f"{job['metadata']['name']}-worker-{index}"
        self.uid, self.index = str(uuid.uuid4()), index
        self.log = folder / f"{self.uid}.log"
        template = job["spec"]["tfReplicaSpecs"]["Worker"]["template"]
        (container,) = template["spec"]["containers"]
        environment = {variable["name"]: variable["value"] for variable in container["env"]}
        cluster = {"worker": job["addresses"]}
        tf_config = {"cluster": cluster, "task": {"type": "worker", "index": index}, "environment": "cloud"}
        # So that the command's `python` is this interpreter.
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
        with open(self.log, "wb") as output:
            self.process = subprocess.Popen(
                container["command"],
                cwd=container["workingDir"],
                env={"PATH": path, "HOME": os.environ["HOME"], **environment, "TF_CONFIG": json.dumps(tf_config)},
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

    def as_json(self, job):
        code = self.exit_code
        phase = "Running" if code is None else "Succeeded" if code == 0 else "Failed"
        state = {"running": {}} if code is None else {"terminated": {"exitCode": code, "reason": "Error"}}
        container = {
            "name": "tensorflow",
            "image": "i",
            "imageID": "i",
            "ready": True,
            "restartCount": 0,
            "state": state,
        }
        labels = {manifest.JOB_LABEL: job["metadata"]["name"], manifest.INDEX_LABEL: str(self.index)}
        return {
            "metadata": {"name": self.name, "uid": self.uid, "labels": labels},
            "status": {"phase": phase, "containerStatuses": [container]},
        }


class Cluster:
    """The state of a cluster; its operator and its API server run until it is closed.

    Attributes:
      jobs: by name.
      pods: by job and index.
      created: every job that was ever created.
      failures: (method, part of the path) -> [responses to send first, each (status, body)].
      is_full: whether no more pods can be started.
    """

    def __init__(self, folder):
        self.jobs, self.pods, self.created, self.failures = {}, {}, [], {}
        self.is_full = False
        self.lock, self._closed = threading.RLock(), threading.Event()
        self._folder = pathlib.Path(folder)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._threads = [threading.Thread(target=work) for work in (self._server.serve_forever, self._operate)]
        for thread in self._threads:
            thread.start()

    def kubeconfig(self):
        """Writes a kubeconfig for this cluster; returns its path."""
        file = self._folder / "kubeconfig"
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

    def create(self, job):
        """Creates a job; returns (status, body)."""
        name = job["metadata"]["name"]
        if problems := crd.problems(job):
            return 422, _status(422, "Invalid", "; ".join(problems))
        if name in self.jobs:
            return 409, _status(409, "AlreadyExists", f'tfjobs.kubeflow.org "{name}" already exists', name)
        job["metadata"]["uid"] = str(uuid.uuid4())
        job["status"] = {"conditions": []}
        replicas = job["spec"]["tfReplicaSpecs"]["Worker"]["replicas"]
        job["addresses"] = [f"localhost:{portpicker.pick_unused_port()}" for _ in range(replicas)]
        self.jobs[name], self.pods[name] = job, {}
        self.created.append(copy.deepcopy(job))
        _set_condition(job, "Created", "TFJob is created.")
        return 201, job

    def _operate(self):
        while not self._closed.wait(_TICK_S):
            with self.lock:
                for job in list(self.jobs.values()):
                    self._reconcile(job)

    def _reconcile(self, job):
        name = job["metadata"]["name"]
        pods = self.pods[name]
        if "deletionTimestamp" in job["metadata"]:
            for pod in pods.values():
                pod.end()
            del self.jobs[name], self.pods[name]
        elif _has_condition(job, "Succeeded") or _has_condition(job, "Failed"):
            for index, pod in list(pods.items()):
                if pod.exit_code is None:
                    pod.end()
                    del pods[index]
        elif not self.is_full:
            self._reconcile_pods(job, pods)

    def _reconcile_pods(self, job, pods):
        for index in range(job["spec"]["tfReplicaSpecs"]["Worker"]["replicas"]):
            code = pods[index].exit_code if index in pods else None
            if index not in pods:
                pods[index] = Pod(job, index, self._folder)
                _set_condition(job, "Running", "TFJob is running.")
            elif code == 0 and index == 0:
                _set_condition(job, "Succeeded", "TFJob successfully completed.")
            elif code and code >= 128 and job["spec"]["runPolicy"]["backoffLimit"]:
                del pods[index]
                _set_condition(job, "Restarting", "job is restarting because Worker replica(s) failed.")
            elif code:
                _set_condition(job, "Failed", "job is failing because Worker replica(s) failed.")


def _set_condition(job, kind, message):
    dropped = {kind, *({"Running", "Restarting"} if kind in ("Running", "Restarting") else ())}
    conditions = [condition for condition in job["status"]["conditions"] if condition["type"] not in dropped]
    for condition in conditions:
        if condition["type"] == "Running" and kind in ("Succeeded", "Failed"):
            condition["status"] = "False"
    conditions.append({"type": kind, "status": "True", "message": message})
    job["status"]["conditions"] = conditions


def _has_condition(job, kind):
    return any(c["type"] == kind and c["status"] == "True" for c in job["status"]["conditions"])


def _status(code, reason, message, name=None):
    details = {"name": name, "group": "kubeflow.org", "kind": "tfjobs"} if name else {}
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
                self._send(*(self._pods(url) if match else self._jobs(_JOBS.fullmatch(url.path), body)))

        def _jobs(self, match, body):
            name = match[2]
            if self.command == "POST":
                return cluster.create(body)
            if name not in cluster.jobs:
                return 404, _status(404, "NotFound", f'tfjobs.kubeflow.org "{name}" not found', name)
            if self.command == "DELETE":
                cluster.jobs[name]["metadata"]["deletionTimestamp"] = datetime.datetime.now().isoformat()
            return 200, cluster.jobs[name]

        def _pods(self, url):
            label, _, job = urllib.parse.parse_qs(url.query)["labelSelector"][0].partition("=")
            assert label == manifest.JOB_LABEL
            pods = [pod.as_json(cluster.jobs[job]) for pod in cluster.pods.get(job, {}).values()]
            return 200, {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods}

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
