"""A local server with the part of Kubeflow Pipelines' API that `cluster.client` uses, with the real server's checks.

Its checks follow the backend's source; tests read its state.
"""

import base64
import contextlib
import copy
import datetime
import email
import email.policy
import http.server
import itertools
import json
import re
import threading
import time
import urllib.parse

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

ROOT = "/apis/v2beta1"
NEVER = "1970-01-01T00:00:00Z"
LARGEST_PAGE = 200
TYPES = {"STRING": str, "NUMBER_INTEGER": (int, float), "NUMBER_DOUBLE": (int, float), "BOOLEAN": bool}
# Seconds, minutes, hours, days, months, weekdays.
CRON_BOUNDS = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
CRON_NAMES = "jan feb mar apr may jun jul aug sep oct nov dec sun mon tue wed thu fri sat".split()


class Refused(Exception):
    """An error of the API: HTTP status, gRPC code, message."""

    def __init__(self, status, code, message):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def invalid(message):
    return Refused(400, 3, f"InvalidInputError: {message}")


def missing(what):
    return Refused(404, 5, f"ResourceNotFoundError: {what} not found")


def conflict(what):
    return Refused(409, 6, f"Already exist error: {what}")


class Backend:
    """State and rules, without HTTP."""

    def __init__(self):
        self.experiments, self.pipelines, self.versions, self.runs, self.jobs = {}, {}, {}, {}, {}
        self.largest_page = LARGEST_PAGE
        # Workflows that run, known to the server or not.
        self.workflows = []
        # Bucket and key -> content, which the UI serves.
        self.objects = {}
        self._ids = itertools.count(1)
        self._clock = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)

    def enabled(self, name):
        return [job for job in self.jobs.values() if job["display_name"] == name and job["mode"] == "ENABLE"]

    def fire(self, job):
        """Starts a run of a schedule, as the controller does; it stays active."""
        run = self._new("run", job["display_name"] + "-run", job["experiment_id"], state="RUNNING", finished_at=NEVER)
        run["recurring_run_id"] = job["recurring_run_id"]
        self.runs[run["run_id"]] = run
        return run

    def create_experiment(self, body):
        if any(one["display_name"] == body["display_name"] for one in self.experiments.values()):
            raise conflict(f"experiment {body['display_name']}")
        experiment = self._new("experiment", body["display_name"])
        self.experiments[experiment["experiment_id"]] = experiment
        return experiment

    def upload_pipeline(self, query, content):
        documents = parse(content)
        if any(one["display_name"] == query["name"] for one in self.pipelines.values()):
            raise conflict(f"pipeline {query['name']}")
        pipeline = self._new("pipeline", query["name"])
        self.pipelines[pipeline["pipeline_id"]] = pipeline
        self._add_version(pipeline, query["name"], query.get("description", ""), documents)
        return pipeline

    def upload_version(self, query, content):
        pipeline = lookup(self.pipelines, query.get("pipelineid"), "pipeline")
        return self._add_version(pipeline, query["name"], query.get("description", ""), parse(content))

    def create_run(self, body):
        version = self._checked(body)
        check_runnable(version["documents"][0])
        run = self._new("run", body["display_name"], body["experiment_id"], state="PENDING", finished_at=NEVER)
        self._copy(body, run)
        self.workflows.append(run["run_id"])
        if max(json.dumps([run, version["documents"]], ensure_ascii=False)) > "\uffff":
            # Its connection to MySQL has three bytes per character; the run is recorded after the workflow is created.
            raise Refused(500, 13, "InternalServerError: Failed to store run: Error 1366: Incorrect string value")
        self.runs[run["run_id"]] = run
        return run

    def create_job(self, body):
        self._checked(body)
        if not 1 <= int(body.get("max_concurrency", 0)) <= 10:
            raise invalid("The max concurrency of the recurring run is out of range. Support 1-10")
        check_trigger(body["trigger"])
        job = self._new("recurring_run", body["display_name"], body["experiment_id"], mode=body["mode"])
        self._copy(body, job)
        trigger = job["trigger"] = copy.deepcopy(body["trigger"])
        for schedule in trigger.values():
            # 64-bit integers are strings in protocol buffers' JSON.
            if "interval_second" in schedule:
                schedule["interval_second"] = str(schedule["interval_second"])
        job.update(max_concurrency=str(body["max_concurrency"]), no_catchup=body.get("no_catchup", False))
        self.jobs[job["recurring_run_id"]] = job
        return job

    def change_job(self, job_id, verb):
        lookup(self.jobs, job_id, "job")["mode"] = {"enable": "ENABLE", "disable": "DISABLE"}[verb]
        return {}

    def delete_job(self, job_id):
        lookup(self.jobs, job_id, "job")
        del self.jobs[job_id]
        # The cluster's garbage collection deletes its workflows too, including active ones.
        for run in self.runs.values():
            if run.get("recurring_run_id") == job_id and run["state"] == "RUNNING":
                run["state"] = "FAILED"
        return {}

    def page(self, field, items, query):
        sort_by, filtered, token = (query.get(key, "") for key in ("sort_by", "filter", "page_token"))
        start = 0
        if token:
            start, *parts = json.loads(base64.b64decode(token))
            if parts != [sort_by, filtered]:
                raise invalid("page token does not match the supplied sort by and/or filtering criteria")
        if "experiment_id" in query:
            items = [item for item in items if item["experiment_id"] == query["experiment_id"]]
        for predicate in json.loads(filtered).get("predicates", ()) if filtered else ():
            if predicate["operation"] not in (1, "EQUALS") or predicate["key"] != "display_name":
                raise invalid(f"filter {predicate}")
            items = [item for item in items if item["display_name"] == predicate["stringValue"]]
        if sort_by not in ("", "created_at", "created_at asc", "created_at desc"):
            raise invalid(f"Cannot sort on {sort_by}")
        items = sorted(items, key=lambda item: item["created_at"], reverse=sort_by.endswith("desc"))
        end = start + min(int(query.get("page_size") or 20), self.largest_page)
        answer = {field: items[start:end], "total_size": len(items)}
        if end < len(items):
            answer["next_page_token"] = base64.b64encode(json.dumps([end, sort_by, filtered]).encode()).decode()
        return answer

    def _new(self, kind, name, experiment_id=None, **values):
        if not name:
            raise invalid(f"{kind} name is empty")
        self._clock += datetime.timedelta(seconds=1)
        values.update({f"{kind}_id": f"{kind}-{next(self._ids)}", "display_name": name, "namespace": "kubeflow"})
        values["created_at"] = self._clock.strftime("%Y-%m-%dT%H:%M:%SZ")
        return values if experiment_id is None else {**values, "experiment_id": experiment_id}

    def _add_version(self, pipeline, name, description, documents):
        of_pipeline = [one for one in self.versions.values() if one["pipeline_id"] == pipeline["pipeline_id"]]
        if any(one["display_name"] == name for one in of_pipeline):
            raise conflict(f"version {name}")
        version = self._new("pipeline_version", name, description=description, documents=documents)
        version["pipeline_id"] = pipeline["pipeline_id"]
        self.versions[version["pipeline_version_id"]] = version
        return version

    def _checked(self, body):
        """Checks the parameters of a run or a job; returns its version."""
        lookup(self.experiments, body.get("experiment_id"), "experiment")
        version = lookup(self.versions, body["pipeline_version_reference"]["pipeline_version_id"], "pipeline version")
        check_parameters(version["documents"][0], body.get("runtime_config", {}).get("parameters", {}))
        return version

    @staticmethod
    def _copy(body, target):
        for key in ("pipeline_version_reference", "runtime_config"):
            target[key] = body[key]
        target["description"] = body.get("description", "")
        # The server's default.
        target["service_account"] = body.get("service_account") or "pipeline-runner"


def lookup(table, key, what):
    if key not in table:
        raise missing(f"{what} {key}")
    return table[key]


def parse(content):
    """Returns the documents of an upload: `[pipeline]` or `[pipeline, platform]`, as the backend stores them."""
    spec = platform = None
    for document in yaml.safe_load_all(content):
        if "pipelineInfo" in document:
            if spec is not None:
                raise invalid("multiple pipeline specs provided")
            spec = strict(document, pipeline_spec_pb2.PipelineSpec())
        elif (read := dropped_unless_strict(document)) is not None:
            if platform is not None:
                raise invalid("multiple platform specs provided")
            platform = read
    if spec is None:
        raise invalid("no pipeline spec is provided")
    if spec.get("schemaVersion") != "2.1.0":
        raise invalid(f"KFP only supports schema version 2.1.0, but the pipeline spec has {spec.get('schemaVersion')}")
    if not re.match(r"[a-z0-9]", spec["pipelineInfo"].get("name", "")):
        raise invalid("invalid v2 pipeline spec: name")
    if "root" not in spec:
        raise invalid("invalid v2 pipeline spec: root component is empty")
    return [spec] if platform is None else [spec, platform]


def strict(document, message):
    try:
        json_format.ParseDict(document, message)
    except json_format.ParseError as error:
        raise invalid(f"invalid v2 pipeline spec: {error}") from error
    return json_format.MessageToDict(message)


def dropped_unless_strict(document):
    with contextlib.suppress(Refused):
        return strict(document, pipeline_spec_pb2.PlatformSpec())
    return None


def check_parameters(spec, given):
    declared = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    for name, definition in declared.items():
        if name not in given:
            if "defaultValue" not in definition and not definition.get("isOptional"):
                raise invalid(
                    f"parameter {name} is not optional, yet has neither default value nor user provided value"
                )
            continue
        kind = TYPES[definition["parameterType"]]
        if not isinstance(given[name], kind) or (isinstance(given[name], bool) and kind is not bool):
            raise invalid(f"input parameter {name} requires type {definition['parameterType']}")
    for name in given:
        if name not in declared:
            raise invalid(f"parameter {name} provided is not specified in the pipeline inputs")


def check_runnable(spec):
    """The checks of the compilation to a workflow, which happens only when a run starts."""
    for component in (spec["root"], *spec.get("components", {}).values()):
        for task in component.get("dag", {}).get("tasks", {}):
            if not re.fullmatch(r"[a-zA-Z][-a-zA-Z0-9]*", task):
                raise invalid(f"task {task}: invalid Kubernetes name")
    for executor in spec.get("deploymentSpec", {}).get("executors", {}).values():
        if "resolver" in executor:
            raise invalid("resolver is not supported")


def check_trigger(trigger):
    if len(trigger) != 1:
        raise invalid("trigger")
    if "periodic_schedule" in trigger:
        if int(trigger["periodic_schedule"]["interval_second"]) < 1:
            raise invalid("Found invalid period schedule interval. Set at interval to least 1 second")
    elif not cron_is_valid(trigger["cron_schedule"]["cron"]):
        raise invalid("Schedule cron is not a supported format(https://godoc.org/github.com/robfig/cron)")


def cron_is_valid(expression):
    """As robfig/cron 1.2: five fields are valid too, and start with seconds."""
    if expression.startswith("@"):
        return bool(re.fullmatch(r"@(yearly|annually|monthly|weekly|daily|midnight|hourly|every \w+)", expression))
    fields = expression.split()
    return len(fields) in (5, 6) and all(
        field_is_valid(part, *bounds)
        for field, bounds in zip(fields, CRON_BOUNDS)  # noqa: B905
        for part in field.split(",")
    )


def field_is_valid(part, low, high):
    match = re.fullmatch(r"(?:[*?]|(\w+)(?:-(\w+))?)(?:/([1-9]\d*))?", part)
    numbers = [one.lower() for one in match.groups()[:2] if one] if match else ["no"]
    return all(one in CRON_NAMES or (one.isdigit() and low <= int(one) <= high) for one in numbers)


class Server(http.server.ThreadingHTTPServer):
    """The backend behind HTTP, with a switch for each way to fail.

    Attributes:
      backend: the state.
      requests: method and path of all requests, in order.
      authorizations: the `Authorization` headers of all requests.
      lose: number of a request (from 0) -> "before" or "after": when its connection is cut, relative to its execution.
      lose_from: number of a request; it and all later ones are lost before they are executed.
      refuse: (method, end of the path) -> status of requests that are refused.
      answer: status, content type, body and additional headers of every response; None for the backend's own.
      pause_s: pause in seconds before each response.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.backend = Backend()
        self.lock = threading.Lock()
        self.authorizations, self.pause_s = set(), 0.0
        self.forget()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def forget(self):
        """Forgets all requests, and switches all failures off."""
        self.requests, self.lose, self.lose_from, self.refuse, self.answer = [], {}, None, {}, None


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Sends the response in one packet: a second one would wait 40 ms for the acknowledgement of the first.
    wbufsize = -1

    def log_message(self, *_):
        pass

    def handle_one(self):
        url = urllib.parse.urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.server.lock:
            number = len(self.server.requests)
            self.server.requests.append((self.command, url.path))
            self.server.authorizations.add(self.headers.get("Authorization"))
            late = self.server.lose_from is not None and number >= self.server.lose_from
            lost = "before" if late else self.server.lose.get(number)
            if lost == "before":
                return self.cut()
            status, kind, content, headers = self.server.answer or self.answer(url, body)
        if lost == "after":
            return self.cut()
        time.sleep(self.server.pause_s)
        with contextlib.suppress(OSError):
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    do_GET = do_POST = do_DELETE = handle_one

    def cut(self):
        self.close_connection = True

    def answer(self, url, body):
        for (method, end), status in self.server.refuse.items():
            if self.command == method and url.path.endswith(end):
                return json_answer(status, {"error": "not today", "code": 13, "message": "not today"})
        query = dict(urllib.parse.parse_qsl(url.query))
        try:
            answer = self.route(url.path, query, body)
        except Refused as refused:
            if "/upload" in url.path:
                return json_answer(refused.status, {"error_message": refused.message, "error_details": "..."})
            words = {"error": refused.message, "code": refused.code, "message": refused.message, "details": []}
            return json_answer(refused.status, words)
        return (404, "text/plain", b"404 page not found", {}) if answer is None else json_answer(200, answer)

    def route(self, path, query, body):
        backend, path = self.server.backend, path.removeprefix(ROOT)
        if path == "/pipelines/upload":
            return backend.upload_pipeline(query, self.uploaded(body))
        if path == "/pipelines/upload_version":
            return backend.upload_version(query, self.uploaded(body))
        tables = {
            "/experiments": ("experiments", backend.experiments, backend.create_experiment),
            "/runs": ("runs", backend.runs, backend.create_run),
            "/recurringruns": ("recurringRuns", backend.jobs, backend.create_job),
            "/pipelines": ("pipelines", backend.pipelines, None),
        }
        if path in tables:
            field, table, create = tables[path]
            return create(json.loads(body)) if self.command == "POST" else backend.page(field, table.values(), query)
        return self.route_one(backend, path, query)

    def route_one(self, backend, path, query):
        if path == "/artifacts/get":
            if (query["bucket"], query["key"]) not in backend.objects:
                raise Refused(500, 13, "Failed to get object in bucket")
            return backend.objects[query["bucket"], query["key"]]
        if match := re.fullmatch(r"/pipelines/([^/]+)", path):
            return lookup(backend.pipelines, match[1], "pipeline")
        if match := re.fullmatch(r"/pipelines/([^/]+)/versions", path):
            of_pipeline = [one for one in backend.versions.values() if one["pipeline_id"] == match[1]]
            return backend.page("pipeline_versions", [api_version(one) for one in of_pipeline], query)
        if match := re.fullmatch(r"/recurringruns/([^/:]+):(enable|disable)", path):
            return backend.change_job(match[1], match[2])
        if (match := re.fullmatch(r"/recurringruns/([^/:]+)", path)) and self.command == "DELETE":
            return backend.delete_job(match[1])
        return None

    def uploaded(self, body):
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        message = email.message_from_bytes(head + body, policy=email.policy.HTTP)
        for part in message.iter_parts():
            if part.get_param("name", header="content-disposition") == "uploadfile":
                return part.get_payload(decode=True)
        raise invalid("Failed to read pipeline from file")


def api_version(version):
    documents = version["documents"]
    shown = documents[0] if len(documents) == 1 else {"pipeline_spec": documents[0], "platform_spec": documents[1]}
    return {**{key: value for key, value in version.items() if key != "documents"}, "pipeline_spec": shown}


def json_answer(status, content):
    return status, "application/json", json.dumps(content).encode(), {}


@contextlib.contextmanager
def running():
    """Runs a server on a free port of this machine."""
    server = Server()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
