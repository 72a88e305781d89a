"""Pipelines of small Python programs in place of TFX's containers."""

import io
import json
import os

import rich.console
import yaml

from cluster import replay

# A text of the program: what it is given, and how it leaves its output.
GIVEN = """
import json, os, sys
given = json.loads(sys.argv[1])
root = os.environ["REPLAY_ROOT"]
inputs, outputs = given["inputs"], given["outputs"]
def local(artifact):
    return root + "/" + artifact["artifacts"][0]["uri"].replace("://", "/")
def finish(**fields):
    os.makedirs(os.path.dirname(outputs["outputFile"]), exist_ok=True)
    with open(outputs["outputFile"], "w") as stream:
        json.dump(fields, stream)
"""

ARTIFACT = {"schemaTitle": "tfx.Model", "schemaVersion": "0.0.1"}


def step(code="", *, inputs=None, artifacts=None, outputs=(), values=None, words=("{{$}}",), env=None, **task):
    """A task with its component and executor.

    Args:
      code: what its container runs after `GIVEN`.
      inputs: name -> (type, what the task's input parameter is).
      artifacts: name -> (producer, output) or the name of an input of the component above.
      outputs: names of output artifacts.
      values: name -> type of output parameters.
      words: arguments of the program.
      env: variables of the container.
      **task: more fields of the task.
    """
    inputs, artifacts = inputs or {}, artifacts or {}
    definitions = {
        "parameters": {name: {"parameterType": kind} for name, (kind, _) in inputs.items()},
        "artifacts": {name: {"artifactType": ARTIFACT} for name in artifacts},
    }
    component = {
        "inputDefinitions": definitions,
        "outputDefinitions": {
            "artifacts": {name: {"artifactType": ARTIFACT} for name in outputs},
            "parameters": {name: {"parameterType": kind} for name, kind in (values or {}).items()},
        },
    }
    container = {"image": "none", "command": ["python", "-c", GIVEN + code], "args": list(words)}
    container["env"] = [{"name": name, "value": value} for name, value in (env or {}).items()]
    task["inputs"] = {
        "parameters": {name: source for name, (_, source) in inputs.items()},
        "artifacts": {name: _artifact_source(source) for name, source in artifacts.items()},
    }
    return {"task": task, "component": component, "container": container}


def _artifact_source(source):
    if isinstance(source, str):
        return {"componentInputArtifact": source}
    return {"taskOutputArtifact": {"producerTask": source[0], "outputArtifactKey": source[1]}}


def constant(value):
    return {"runtimeValue": {"constant": value}}


def from_above(name):
    return {"componentInputParameter": name}


def from_task(task, name):
    return {"taskOutputParameter": {"producerTask": task, "outputParameterKey": name}}


def after(*tasks):
    return {"dependentTasks": list(tasks)}


def at_exit(task):
    return {**after(task), "triggerPolicy": {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}}


def document(steps, parameters=None, dags=None):
    """A PipelineSpec.

    Args:
      steps: name -> what `step` made; the tasks of the root.
      parameters: name -> definition, of the root.
      dags: name of a task of the root -> (its task's fields, its steps, its inputDefinitions, its outputs).
    """
    components, executors = {}, {}
    tasks = _tasks(steps, components, executors)
    for name, (task, inner, definitions, outputs) in (dags or {}).items():
        dag = {"tasks": _tasks(inner, components, executors), "outputs": outputs}
        components[name] = {"dag": dag, "inputDefinitions": definitions}
        tasks[name] = {"taskInfo": {"name": name}, "componentRef": {"name": name}, **task}
    return {
        "pipelineInfo": {"name": "tiny"},
        "schemaVersion": "2.1.0",
        "root": {"dag": {"tasks": tasks}, "inputDefinitions": {"parameters": parameters or {}}},
        "components": components,
        "deploymentSpec": {"executors": executors},
    }


def _tasks(steps, components, executors):
    tasks = {}
    for name, each in steps.items():
        components[name] = {**each["component"], "executorLabel": f"{name}_executor"}
        executors[f"{name}_executor"] = {"container": each["container"]}
        tasks[name] = {"taskInfo": {"name": name}, "componentRef": {"name": name}, **each["task"]}
    return tasks


def write(folder, *documents):
    file = os.path.join(folder, "pipeline.yaml")
    with open(file, "w", encoding="utf-8") as stream:
        yaml.safe_dump_all(documents, stream)
    return file


class Ran:
    """A replay that has been run: its exit status, what it said, its record, and a look into its folders."""

    def __init__(self, folder, *documents, layout="2.5", **parameters):
        self.root = os.path.join(folder, "root")
        self.console = rich.console.Console(file=io.StringIO(), width=200)
        self.status = replay.run(write(folder, *documents), self.root, parameters, layout, self.console)
        (name,) = os.listdir(os.path.join(self.root, "runs"))
        with open(os.path.join(self.root, "runs", name), encoding="utf-8") as stream:
            self.record = json.load(stream)

    @property
    def said(self):
        return self.console.file.getvalue()

    def statuses(self):
        return {name: task["status"] for name, task in self.record["tasks"].items()}

    def log(self, task):
        with open(os.path.join(self.root, "logs", self.record["run_id"], f"{task}.log"), encoding="utf-8") as stream:
            return stream.read()

    def stored(self, task, output):
        uri = self.record["tasks"][task]["artifacts"][output]
        return os.path.join(self.root, "store", uri.removeprefix("minio://"))
