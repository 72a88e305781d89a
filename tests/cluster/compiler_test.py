import json
import os

import pytest
import yaml

from cluster import ascii_text, compatibility, compiled_file, compiler
from cluster.replay import pipeline_spec
from core import config
from core.errors import UserError
from core.kubeflow_config import KubeflowConfig
from launchers.cluster_job import ClusterJobConfig
from schema.task import task_from_json

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FILE = os.path.join(REPO, "configs", "kubeflow.yaml")

# Task -> tasks that it waits for, whether it is cached, its run parameters.
TASKS = {
    "tsv-example-gen": ([], False, ["dev", "pipeline_root", "sample_size", "span", "test", "train"]),
    "statistics-gen": (["tsv-example-gen"], True, ["run_token"]),
    "import-schema-gen": ([], True, ["run_token"]),
    "example-validator": (["import-schema-gen", "statistics-gen"], True, ["run_token"]),
    "data-gate": (["example-validator", "import-schema-gen", "statistics-gen", "tsv-example-gen"], False, []),
    "hub-encoder": (["data-gate"], True, ["run_token"]),
    "trainer": (["data-gate", "hub-encoder", "import-schema-gen", "tsv-example-gen"], True, ["epochs", "run_token"]),
    "baseline-model": (["trainer"], False, []),
    "evaluator": (["baseline-model", "trainer", "tsv-example-gen"], True, ["run_token"]),
    "model-gate": (["baseline-model", "data-gate", "evaluator", "trainer"], True, ["run_token"]),
    "serving-validator": (["trainer", "tsv-example-gen"], False, []),
    "pusher": (
        [
            "baseline-model",
            "data-gate",
            "hub-encoder",
            "model-gate",
            "serving-validator",
            "trainer",
            "tsv-example-gen",
        ],
        False,
        [],
    ),
    "run-report": (
        [
            "data-gate",
            "hub-encoder",
            "model-gate",
            "pusher",
            "serving-validator",
            "trainer",
            "tsv-example-gen",
        ],
        False,
        [],
    ),
}

PARAMETERS = {
    "train": ("STRING", "https://raw.githubusercontent.com/e9t/nsmc/master/ratings_train.txt"),
    "dev": ("STRING", ""),
    "test": ("STRING", "https://raw.githubusercontent.com/e9t/nsmc/master/ratings_test.txt"),
    "span": ("STRING", ""),
    "sample_size": ("NUMBER_INTEGER", 15000),
    "epochs": ("NUMBER_INTEGER", 5),
    "pipeline_root": ("STRING", ""),
    "run_token": ("STRING", ""),
}


def compiled(tmp_path, *overrides):
    output = str(tmp_path / "new" / "x.yaml")
    settings = config.load_config(FILE, overrides)
    compatibility.check_config(settings)
    compiler.compile_pipeline(settings, output)
    pipeline_spec.parse(compiled_file.read(output))  # replay refuses fields that it does not emulate
    with open(output) as stream:
        return list(yaml.safe_load_all(stream))


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("compiled"))


@pytest.fixture(scope="module")
def spec(documents):
    return documents[0]


@pytest.fixture(scope="module")
def platform(documents):
    return documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def graph(spec):
    return spec["components"]["tfx-dag"]["dag"]["tasks"]


def containers(spec):
    return {label: executor["container"] for label, executor in spec["deploymentSpec"]["executors"].items()}


def test_two_documents_of_the_supported_version(documents):
    assert len(documents) == 2
    assert (documents[0]["schemaVersion"], documents[0]["pipelineInfo"]) == ("2.1.0", {"name": "nsmc"})


def test_the_graph_is_the_golden_one(spec):
    tasks = {
        task: (
            sorted(body.get("dependentTasks", [])),
            body["cachingOptions"]["enableCache"],
            sorted(
                name
                for name, source in body.get("inputs", {}).get("parameters", {}).items()
                if "componentInputParameter" in source
            ),
        )
        for task, body in graph(spec).items()
    }
    assert tasks == TASKS


def test_teachers_are_asked_in_every_run_and_their_labels_reach_the_student(tmp_path):
    taught = compiled(tmp_path, "distill.teachers=[/mnt/reviews/large/1]")[0]
    tasks = graph(taught)
    assert tasks.keys() - TASKS.keys() == {"teacher-labels"}
    assert sorted(tasks["teacher-labels"]["dependentTasks"]) == ["data-gate", "tsv-example-gen"]
    assert not tasks["teacher-labels"]["cachingOptions"]["enableCache"]
    takers = {name for name, task in tasks.items() if "teacher-labels" in task.get("dependentTasks", [])}
    assert takers == {"trainer", "model-gate", "run-report"}
    assert "components.trainer.executor.Executor" in containers(taught)["trainer_executor"]["args"]


def test_every_container_is_the_entrypoint_in_the_configured_image(spec):
    assert set(containers(spec)) == {f"{task}_executor" for task in (*TASKS, "run-outcome")}
    for label, container in containers(spec).items():
        assert container["image"] == "registry.example.com/reviews:1"
        assert container["command"] == ["python", "-m", "cluster.entrypoint"]
        assert "{{$}}" in container["args"]
        assert {"name": "REVIEWS_TASK", "value": label.removesuffix("_executor")} in container["env"]
        assert {"name": "REVIEWS_IMAGE_DIR", "value": "/app"} in container["env"]
        assert {"name": "REVIEWS_REPORTS_DIR", "value": "/mnt/reviews/state/nsmc/runs"} in container["env"]


def test_only_the_trainer_has_a_gpu(spec):
    with_gpu = {
        label: c["resources"]["accelerator"] for label, c in containers(spec).items() if "accelerator" in c["resources"]
    }
    assert with_gpu == {"trainer_executor": {"type": "nvidia.com/gpu", "count": 1}}


def test_a_components_cpu_and_memory_override_the_defaults(spec):
    limits = {
        label: (c["resources"]["cpuLimit"], c["resources"]["memoryLimit"]) for label, c in containers(spec).items()
    }
    assert limits["trainer_executor"] == (8.0, 32.0)
    assert limits["tsv-example-gen_executor"] == (4.0, 8.0)
    assert limits["run-report_executor"] == (2.0, 8.0)


def test_failed_pods_are_retried(spec):
    assert {body["retryPolicy"]["maxRetryCount"] for body in graph(spec).values()} == {2}
    # Argo's deadline of all attempts, counted from the start of the first.
    longest_s = KubeflowConfig.model_fields["workers"].default.timeout_s * 3
    assert all(int(body["retryPolicy"]["backoffMaxDuration"][:-1]) > longest_s for body in graph(spec).values())


def test_the_platform_document_mounts_the_volume_everywhere_and_shared_memory_in_the_trainer(platform):
    volume = {"pvcMount": [{"constant": "reviews", "mountPath": "/mnt/reviews"}]}
    shm = {"volumeName": "shm", "mountPath": "/dev/shm", "medium": "Memory", "sizeLimit": "8000M"}
    assert platform.pop("trainer_executor") == {**volume, "emptyDirMounts": [shm]}
    assert platform == {f"{task}_executor": volume for task in (*TASKS, "run-outcome") if task != "trainer"}


def test_the_checks_have_the_ids_of_the_graphs_nodes(spec):
    nodes = {compiler.to_task_id(node) for node in compatibility.node_ids(config.load_config(FILE))}
    assert nodes == {*TASKS, "run-outcome"}


def test_run_parameters_have_types_and_defaults_and_reach_the_graph(spec):
    declared = spec["root"]["inputDefinitions"]["parameters"]
    assert {name: (p["parameterType"], p["defaultValue"]) for name, p in declared.items()} == PARAMETERS
    assert set(spec["components"]["tfx-dag"]["inputDefinitions"]["parameters"]) == set(PARAMETERS)
    passed = spec["root"]["dag"]["tasks"]["tfx-dag"]["inputs"]["parameters"]
    assert passed == {name: {"componentInputParameter": name} for name in PARAMETERS}


def test_run_outcome_runs_after_success_and_failure(spec):
    task = spec["root"]["dag"]["tasks"]["run-outcome"]
    assert task["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    assert task["dependentTasks"] == ["tfx-dag"]
    # Backends before 2.14 refuse pipelines with it.
    assert "taskFinalStatus" not in str(spec)


def test_both_reports_are_html_artifacts_that_kfps_page_shows(spec):
    pages = {
        task: artifact["artifactType"]
        for task, component in spec["components"].items()
        for name, artifact in component.get("outputDefinitions", {}).get("artifacts", {}).items()
        if name == "page"
    }
    html = {"schemaTitle": "system.HTML", "schemaVersion": "0.0.1"}
    assert pages == {"run-report": html, "run-outcome": html}


def test_figures_are_artifacts_that_kfps_page_draws(spec):
    drawn = {
        (task, name): artifact["artifactType"]["schemaTitle"]
        for task, component in spec["components"].items()
        for name, artifact in component.get("outputDefinitions", {}).get("artifacts", {}).items()
        if "schemaTitle" in artifact["artifactType"]
    }
    assert {key: title for key, title in drawn.items() if title.startswith("system.")} == {
        ("trainer", "training"): "system.Metrics",
        ("model-gate", "metrics"): "system.Metrics",
        ("model-gate", "classification"): "system.ClassificationMetrics",
        ("pusher", "version"): "system.Markdown",
        ("run-report", "page"): "system.HTML",
        ("run-outcome", "page"): "system.HTML",
        ("run-outcome", "outcome"): "system.Artifact",
    }


def test_files_of_this_repository_have_their_paths_in_the_image(spec):
    with open(FILE) as stream:
        assert "data/invariance/korean.tsv" in stream.read()
    constants = {
        name: source["runtimeValue"]["constant"]
        for task in ("import-schema-gen", "model-gate")
        for name, source in graph(spec)[task]["inputs"]["parameters"].items()
        if "runtimeValue" in source
    }
    assert constants["schema_file"] == "/app/schema/schema.pbtxt"
    pairs = json.loads(constants["gate"])["bounds"]["invariance"]["pairs"]
    assert pairs == "/app/data/invariance/korean.tsv"
    assert REPO not in str(spec)


def test_a_components_settings_apply_only_to_its_pod(tmp_path):
    overrides = [
        "kubeflow.image=reg/reviews@sha256:abc",
        "kubeflow.components.Evaluator={image: 'reg/other:2', env: {A: b}, node_selector: {disk: ssd}, retries: 0, "
        "tolerations: [{key: spot, operator: Exists, effect: NoSchedule, seconds: 60}], image_pull_secrets: [pull], "
        "secrets: [{env: TOKEN, secret: hub, key: token}]}",
        "encoder.source=pretrain",
        "encoder.pretrain.texts=[{file: /mnt/reviews/more.tsv}]",
        "kubeflow.components.Trainer.node_selector={gpu: a100}",
        "trainer.workers=2",
    ]
    spec, document = compiled(tmp_path, *overrides)
    by_label, pods = containers(spec), document["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert {label for label, c in by_label.items() if c["image"] == "reg/other:2"} == {"evaluator_executor"}
    assert by_label["pusher_executor"]["image"] == "reg/reviews@sha256:abc"
    assert {"name": "A", "value": "b"} in by_label["evaluator_executor"]["env"]
    assert "retryPolicy" not in graph(spec)["evaluator"]
    assert pods["evaluator_executor"] == {
        "pvcMount": [{"constant": "reviews", "mountPath": "/mnt/reviews"}],
        "nodeSelector": {"labels": {"disk": "ssd"}},
        "tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 60}],
        "secretAsEnv": [{"secretName": "hub", "keyToEnv": [{"secretKey": "token", "envVar": "TOKEN"}]}],
        "imagePullSecret": [{"secretName": "pull"}],
    }
    assert "encoder-pretrainer" in graph(spec) and "hub-encoder" not in graph(spec)
    # It reads a file.
    assert not graph(spec)["encoder-pretrainer"]["cachingOptions"].get("enableCache")
    # Workers are separate pods, and have the GPUs and the node selector.
    assert "accelerator" not in by_label["trainer_executor"]["resources"]
    assert "nodeSelector" not in pods["trainer_executor"]
    custom = graph(spec)["trainer"]["inputs"]["parameters"]["custom_config"]["runtimeValue"]["constant"]
    workers = ClusterJobConfig.model_validate(yaml.safe_load(custom)["cluster_job"])
    assert (workers.pod.gpus, workers.pod.shm_gb, workers.pod.image) == (1, 8.0, "reg/reviews@sha256:abc")
    assert workers.pod.node_selector == {"gpu": "a100"}
    assert (workers.shared_dir, workers.namespace) == ("/mnt/reviews/state/nsmc", "kubeflow")
    assert [(volume.claim, volume.path) for volume in workers.volumes] == [("reviews", "/mnt/reviews")]


def test_the_order_of_the_labels_reaches_the_trainer(tmp_path):
    spec, _ = compiled(tmp_path, "data.labels={1: positive, 0: negative}")
    custom = graph(spec)["trainer"]["inputs"]["parameters"]["custom_config"]["runtimeValue"]["constant"]
    assert task_from_json(json.loads(custom)["task"]).label_names == ("positive", "negative")


def test_the_file_is_ascii_and_its_tasks_get_the_names_of_the_labels(tmp_path):
    names = {"0": "부정", "1": "긍정 😀"}
    pipeline, _ = compiled(
        tmp_path, f"data.labels={json.dumps(names, ensure_ascii=False)}", "data.test=/mnt/reviews/영화.tsv"
    )
    assert (tmp_path / "new" / "x.yaml").read_bytes().isascii()
    # The backend stores what YAML's own escapes stand for.
    assert json.dumps(pipeline, ensure_ascii=False).isascii()
    inputs = graph(pipeline)["tsv-example-gen"]["inputs"]["parameters"]
    data = json.loads(ascii_text.unescape(inputs["data"]["runtimeValue"]["constant"]))
    assert (data["labels"], data["test"]) == (names, "/mnt/reviews/영화.tsv")
    default = pipeline["root"]["inputDefinitions"]["parameters"]["test"]["defaultValue"]
    assert ascii_text.unescape(default) == "/mnt/reviews/영화.tsv"


def test_an_output_that_the_backend_would_read_as_another_format(tmp_path):
    with pytest.raises(UserError, match="x.json: should end in .yaml"):
        compiler.compile_pipeline(config.load_config(FILE), str(tmp_path / "x.json"))


def test_an_output_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        compiler.compile_pipeline(config.load_config(FILE), str(tmp_path / "file" / "x.yaml"))


def test_tasks_get_the_flags_of_the_engine_with_paths_of_the_image(tmp_path):
    spec, _ = compiled(tmp_path, "beam.runner=flink", "beam.address=flink-rest:8081", "beam.parallelism=4")
    by_label = containers(spec)
    for task in ("tsv-example-gen", "statistics-gen", "evaluator"):
        args = by_label[f"{task}_executor"]["args"]
        assert {"--runner=FlinkRunner", "--flink_master=http://flink-rest:8081", "--parallelism=4"} <= set(args)
        (worker,) = [json.loads(arg.partition("=")[2]) for arg in args if arg.startswith("--environment_config=")]
        assert worker["command"] == "/app/pipeline/engine/boot.py"
        assert worker["env"]["PATH"].startswith("/app/.venv/bin:")
    with pytest.raises(UserError, match=r"beam.args: --runer: Beam has no such flag; did you mean runner\?"):
        compiled(tmp_path, "beam.args=[--runer=FlinkRunner]")
