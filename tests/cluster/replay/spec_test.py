import pytest

from cluster.replay import spec
from core.errors import UserError
from tests.cluster.replay import tiny
from tests.cluster.replay.tiny import after, constant, document, step


def refused(folder, *documents):
    with pytest.raises(UserError) as caught:
        spec.load(tiny.write(folder, *documents))
    return str(caught.value).removeprefix(f"{folder}/pipeline.yaml: ")


def platform(executors, **fields):
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}, **fields}


def test_a_file_is_its_spec_its_containers_and_its_pods(tmp_path):
    pods = {"t_executor": {"pvcMount": [{"constant": "reviews", "mountPath": "/mnt"}]}}
    loaded = spec.load(tiny.write(tmp_path, document({"t": step()}), platform(pods)))
    assert loaded.name == "tiny"
    assert loaded.containers["t_executor"].image == "none"
    assert loaded.pods == pods
    assert loaded.component(loaded.spec.root.dag.tasks["t"]).executor_label == "t_executor"


def test_an_unknown_field_is_refused_with_its_place(tmp_path):
    content = document({"t": step()})
    content["root"]["dag"]["tasks"]["t"]["cacheOptions"] = {}
    assert 'has no field named "cacheOptions" at "PipelineSpec.root.dag.tasks[t]"' in refused(tmp_path, content)


def test_an_unknown_field_of_a_container_is_refused(tmp_path):
    content = document({"t": step()})
    content["deploymentSpec"]["executors"]["t_executor"]["container"]["cpu"] = 1
    assert 'has no field named "cpu"' in refused(tmp_path, content)


def test_a_task_without_its_component_is_refused(tmp_path):
    content = document({"t": step()})
    content["components"] = {}
    assert refused(tmp_path, content) == "task t: componentRef: there is no component 't'"


def test_a_component_without_its_executor_is_refused(tmp_path):
    content = document({"t": step()})
    content["deploymentSpec"] = {}
    assert refused(tmp_path, content) == "task t: there is no executor 't_executor'"


def test_a_component_that_is_nothing_is_refused(tmp_path):
    content = document({"t": step()})
    del content["components"]["t"]["executorLabel"]
    assert refused(tmp_path, content) == "task t: its component has neither a dag nor an executorLabel"


def test_an_importer_is_refused(tmp_path):
    content = document({"t": step()})
    content["deploymentSpec"]["executors"]["t_executor"] = {"importer": {"artifactUri": {"constant": "minio://x"}}}
    told = refused(tmp_path, content)
    assert told == "task t: t_executor: an executor of kind importer is not replayed; only containers are"


def test_a_container_without_a_command_is_refused(tmp_path):
    content = document({"t": step()})
    content["deploymentSpec"]["executors"]["t_executor"] = {"container": {"image": "x"}}
    assert "has neither command nor args" in refused(tmp_path, content)


def test_a_loop_is_refused(tmp_path):
    loop = {"parameterIterator": {"itemInput": "i", "items": {"raw": "[1]"}}}
    assert refused(tmp_path, document({"t": step(**loop)})) == "task t: parameter_iterator: loops are not replayed"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ({}, "has no value"),
        ({"runtimeValue": {"runtimeParameter": "x"}}, "runtimeValue.runtime_parameter is of schema 2.0"),
        ({**constant("{}"), "parameterExpressionSelector": "parseJson(string_value)"}, "is not replayed"),
    ],
)
def test_inputs_that_the_replay_can_t_give_are_refused(tmp_path, source, told):
    assert told in refused(tmp_path, document({"t": step(inputs={"x": ("STRING", source)})}))


def test_a_condition_that_is_no_expression_is_refused(tmp_path):
    told = refused(tmp_path, document({"t": step(triggerPolicy={"condition": "1 +"})}))
    assert told.startswith("task t: triggerPolicy.condition: '1 +' is no CEL expression")


def test_a_circle_of_tasks_is_refused(tmp_path):
    told = refused(tmp_path, document({"a": step(**after("b")), "b": step(**after("a"))}))
    assert told.startswith("root: tasks depend on each other in a circle: ")


def test_a_component_in_itself_is_refused(tmp_path):
    content = document({}, None, {"dag": ({}, {}, {}, {})})
    content["components"]["dag"]["dag"]["tasks"]["again"] = {"componentRef": {"name": "dag"}}
    assert refused(tmp_path, content) == "task again: component 'dag' contains itself"


def test_outputs_of_a_dag_come_from_its_tasks(tmp_path):
    outputs = {"artifacts": {"m": {"artifactSelectors": [{"producerSubtask": "y", "outputArtifactKey": "m"}]}}}
    content = document({}, None, {"dag": ({}, {"x": step()}, {}, outputs)})
    assert refused(tmp_path, content) == "dag: outputs: of 'y', a task which is not there"


def test_a_volume_whose_claim_is_not_known_is_refused(tmp_path):
    pods = {"t_executor": {"pvcMount": [{"taskOutputParameter": {"producerTask": "c"}, "mountPath": "/mnt"}]}}
    assert "t_executor: pvcMount: ['mountPath', 'taskOutputParameter']" in refused(
        tmp_path, document({"t": step()}), platform(pods)
    )
