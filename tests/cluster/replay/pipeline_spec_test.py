import pytest

from cluster import compiled_file
from cluster.replay import pipeline_spec
from core.errors import UserError
from tests.cluster.replay import tiny
from tests.cluster.replay.tiny import after, at_exit, constant, document, from_dag, from_task, step

TASK = "root.dag.tasks.t"
COMPONENT = "components.t"


def parse(folder, *documents):
    return pipeline_spec.parse(compiled_file.read(tiny.write(folder, *documents)))


def refusal(folder, *documents):
    with pytest.raises(UserError) as caught:
        parse(folder, *documents)
    return str(caught.value).removeprefix(f"{folder}/pipeline.yaml: ")


def platform(executors):
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}


def changed(path, value):
    """The pipeline of one task `t` with a field set."""
    content = place = document({"t": step()}, None, {"x": step()})
    *parents, last = path.split(".")
    for key in parents:
        place = place.setdefault(key, {})
    place[last] = value
    return content


def test_a_file_is_its_spec_its_containers_and_its_pods(tmp_path):
    pods = {"t_executor": {"pvcMount": [{"constant": "reviews", "mountPath": "/mnt"}]}}
    pipeline = parse(tmp_path, document({"t": step()}), platform(pods))
    assert pipeline.name == "tiny"
    assert pipeline.containers["t_executor"].image == "none"
    assert pipeline.pods == pods
    assert pipeline.component(pipeline.spec.root.dag.tasks["t"]).executor_label == "t_executor"


def test_tasks_are_in_the_order_of_their_dependencies(tmp_path):
    steps = {"a": step(**after("b")), "b": step(artifacts={"m": ("d", "m")}), "d": step(outputs=["m"])}
    assert pipeline_spec.run_order(parse(tmp_path, document(steps)).spec.root.dag) == ["d", "b", "a"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (f"{TASK}.triggerPolicy.condition", "inputs.parameter_values['go'] == 'yes'"),
        (f"{TASK}.inputs.parameters.s.taskFinalStatus", {"producerTask": "dag"}),
        (f"{TASK}.inputs.parameters.s.taskOutputParameter", {"producerTask": "u", "outputParameterKey": "n"}),
        (f"{TASK}.inputs.parameters.s.parameterExpressionSelector", "parseJson(string_value)"),
        (f"{TASK}.inputs.parameters.s.runtimeValue.runtimeParameter", "x"),
        (f"{TASK}.inputs.artifacts.m.componentInputArtifact", "m"),
        (f"{TASK}.parameterIterator", {"itemInput": "i", "items": {"raw": "[1]"}}),
        ("components.dag.dag.outputs", {"artifacts": {"m": {"artifactSelectors": [{"producerSubtask": "x"}]}}}),
        ("components.dag.inputDefinitions.artifacts.m.isArtifactList", True),
        (f"{COMPONENT}.outputDefinitions.parameters", {"n": {"parameterType": "NUMBER_INTEGER"}}),
        (f"{COMPONENT}.inputDefinitions.parameters.n.defaultValue", 3),
        (f"{COMPONENT}.inputDefinitions.parameters.n.isOptional", True),
        ("deploymentSpec.executors.t_executor", {"importer": {"artifactUri": {"constant": "minio://x"}}}),
    ],
)
def test_a_feature_that_compile_never_uses_is_refused_by_its_name(tmp_path, path, value):
    message = refusal(tmp_path, changed(path, value))
    assert message.endswith(": not supported by replay, which runs only what `compile` writes")
    assert message.startswith(path)


@pytest.mark.parametrize(
    ("pod", "path"),
    [
        ({"pvcMount": [{"componentInputParameter": "claim", "mountPath": "/mnt"}]}, "pvcMount.componentInputParameter"),
        ({"configMapAsEnv": [{"configMapName": "x"}]}, "configMapAsEnv"),
    ],
)
def test_a_setting_of_pods_that_compile_never_uses_is_refused(tmp_path, pod, path):
    message = refusal(tmp_path, document({"t": step()}), platform({"t_executor": pod}))
    assert message.startswith(f"platforms.kubernetes.deploymentSpec.executors.t_executor.{path}: not supported")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (f"{TASK}.cacheOptions", {}, 'no field named "cacheOptions" at "PipelineSpec.root.dag.tasks[t]"'),
        ("deploymentSpec.executors.t_executor.container.cpu", 1, 'no field named "cpu"'),
        ("components", {}, "task dag: componentRef: component 'dag' does not exist"),
        ("deploymentSpec", {}, "task t: executor 't_executor' does not exist"),
        (COMPONENT, {}, "task t: the component has neither a dag nor an executorLabel"),
        (
            "deploymentSpec.executors.t_executor",
            {"container": {"image": "x"}},
            "task t: t_executor: command and args are both missing",
        ),
        (
            "components.dag.dag.tasks.again",
            {"componentRef": {"name": "dag"}},
            "task again: a DAG inside a DAG is not supported",
        ),
        ("components.dag.dag.tasks.t", {"componentRef": {"name": "t"}}, "task t: two tasks have this name"),
    ],
)
def test_a_task_that_could_not_run_is_refused(tmp_path, path, value, message):
    assert message in refusal(tmp_path, changed(path, value))


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (step(inputs={"n": ("STRING", {})}), "input n: should be of type STRING"),
        (step(inputs={"n": ("NUMBER_INTEGER", constant("seven"))}), "input n: should be of type NUMBER_INTEGER"),
        (step(inputs={"n": ("NUMBER_INTEGER", from_dag("title"))}), "input n: should be of type NUMBER_INTEGER"),
        (step(artifacts={"m": ("p", "modl")}), "input m: task p has no output 'modl'"),
        (step(artifacts={"m": ("q", "model")}), "depends on q, which does not exist"),
        (step(artifacts={"m": ("p", "model")}, **at_exit("p")), "input m: an artifact of a task that may have failed"),
        (step(words=["{{$}}", "{{$.inputs.parameters['n']}}"]), "['n']}}: the only placeholder that replay supports"),
    ],
)
def test_inputs_that_the_replay_would_not_provide_as_the_backend_does_are_refused(tmp_path, task, message):
    steps = {"p": step(outputs=["model"]), "t": task}
    assert message in refusal(tmp_path, document(steps, {"title": {"parameterType": "STRING"}}))


@pytest.mark.parametrize("inputs", [{"parameters": {"n": constant(1)}}, {"artifacts": {"m": from_task("p", "m")}}])
def test_an_input_that_the_component_does_not_declare_is_refused(tmp_path, inputs):
    content = document({"p": step(outputs=["m"]), "t": step()})
    content["root"]["dag"]["tasks"]["t"]["inputs"] = inputs
    assert "should be both in the task's inputs and in the component's inputDefinitions" in refusal(tmp_path, content)


def test_a_cycle_of_tasks_is_refused(tmp_path):
    assert refusal(tmp_path, document({"a": step(**after("b")), "b": step(**after("a"))})).startswith(
        "tasks form a cyc"
    )
