"""Pipelines of small Python programs instead of TFX's containers."""

import io
import json
import os

import rich.console
import yaml

from cluster import replay

# Start of each program: parses its ExecutorInput, and defines functions for its output.
PREAMBLE = """
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


def step(code="", *, inputs=None, artifacts=None, outputs=(), words=("{{$}}",), env=None, **task):
    """A task with its component and executor.

    Args:
      code: Python code that its container runs after `PREAMBLE`.
      inputs: name -> (type, the source of the task's input parameter).
      artifacts: name -> (producer, output).
      outputs: names of output artifacts.
      words: arguments of the program.
      env: variables of the container.
      **task: more fields of the task.
    """
    inputs, artifacts = inputs or {}, artifacts or {}
    component = {
        "inputDefinitions": {
            "parameters": {name: {"parameterType": kind} for name, (kind, _) in inputs.items()},
            "artifacts": {name: {"artifactType": ARTIFACT} for name in artifacts},
        },
        "outputDefinitions": {"artifacts": {name: {"artifactType": ARTIFACT} for name in outputs}},
    }
    container = {"image": "none", "command": ["python", "-c", PREAMBLE + code], "args": list(words)}
    container["env"] = [{"name": name, "value": value} for name, value in (env or {}).items()]
    task["inputs"] = {
        "parameters": {name: source for name, (_, source) in inputs.items()},
        "artifacts": {name: from_task(*source) for name, source in artifacts.items()},
    }
    return {"task": task, "component": component, "container": container}


def constant(value):
    return {"runtimeValue": {"constant": value}}


def from_dag(name):
    return {"componentInputParameter": name}


def from_task(task, output):
    return {"taskOutputArtifact": {"producerTask": task, "outputArtifactKey": output}}


def after(*tasks):
    return {"dependentTasks": list(tasks)}


def at_exit(task):
    return {**after(task), "triggerPolicy": {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}}


def document(steps, parameters=None, dag_steps=None, dag_inputs=None):
    """A PipelineSpec.

    Args:
      steps: name -> result of `step`; the tasks of the root.
      parameters: name -> definition, of the root.
      dag_steps: tasks of a DAG named `dag` in the root; None for no DAG.
      dag_inputs: name -> (type, source), of the DAG.
    """
    components, executors = {}, {}
    tasks = _tasks(steps, components, executors)
    if dag_steps is not None:
        inputs = dag_inputs or {}
        definitions = {"parameters": {name: {"parameterType": kind} for name, (kind, _) in inputs.items()}}
        dag = {"tasks": _tasks(dag_steps, components, executors)}
        components["dag"] = {"dag": dag, "inputDefinitions": definitions}
        tasks["dag"] = {
            "taskInfo": {"name": "dag"},
            "componentRef": {"name": "dag"},
            "inputs": {"parameters": {name: source for name, (_, source) in inputs.items()}},
        }
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
    """A finished replay: its exit status, its output, its record, and its files."""

    def __init__(self, folder, *documents, layout="2.5", **parameters):
        self.root = os.path.join(folder, "root")
        self.console = rich.console.Console(file=io.StringIO(), width=200)
        self.status = replay.run(write(folder, *documents), self.root, parameters, layout, self.console)
        (name,) = os.listdir(os.path.join(self.root, "runs"))
        with open(os.path.join(self.root, "runs", name), encoding="utf-8") as stream:
            self.record = json.load(stream)

    @property
    def output(self):
        return self.console.file.getvalue()

    def statuses(self):
        return {name: task["status"] for name, task in self.record["tasks"].items()}

    def log(self, task):
        with open(os.path.join(self.root, "logs", self.record["run_id"], f"{task}.log"), encoding="utf-8") as stream:
            return stream.read()

    def stored(self, task, output):
        uri = self.record["tasks"][task]["artifacts"][output]
        return os.path.join(self.root, "store", uri.removeprefix("minio://"))
