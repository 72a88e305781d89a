"""The pipeline's graph: its components and the channels between them, the same on every target.

TFX's modules are imported one by one, because `tfx.v1` loads Google Cloud's clients, which takes 12 CPU seconds.
"""

import json
from typing import Any, Mapping, Optional

from ml_metadata.proto import metadata_store_pb2
from tensorflow_data_validation.statistics import stats_options
from tfx.components.evaluator.component import Evaluator
from tfx.components.example_validator.component import ExampleValidator
from tfx.components.schema_gen.component import SchemaGen
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.components.statistics_gen.component import StatisticsGen
from tfx.components.trainer.component import Trainer
from tfx.dsl.components.base import base_node
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import pusher_pb2, trainer_pb2
from tfx.types.channel import BaseChannel

from artifacts import model_card
from components import gate_config
from components.baseline_model.component import BaselineModel
from components.data_gate import executor as data_gate
from components.data_gate.component import DataGate
from components.encoder_pretrainer.component import EncoderPretrainer
from components.hub_encoder.component import HubEncoder
from components.model_gate import evaluation
from components.model_gate import executor as model_gate
from components.model_gate.component import ModelGate
from components.pusher.component import Pusher
from components.run_report.component import RunReport
from components.serving_validator.component import ServingValidator
from components.teacher_labels import executor as teacher_labels
from components.teacher_labels.component import TeacherLabels
from components.trainer.component import Trainer as StudentTrainer
from components.tsv_example_gen.component import TsvExampleGen
from core.config import Config
from pipeline.engine import flags
from schema import features
from schema.task import task_to_json
from trainer import export, run


def create_pipeline(
    config: Config,
    pipeline_root: str,
    checkpoints: str,
    metadata_connection: Optional[metadata_store_pb2.ConnectionConfig] = None,
    workers: Optional[Mapping[str, Any]] = None,
    reports_dir: str = "",
) -> Pipeline:
    """Builds the pipeline for a configuration. Pure: the same arguments give the same pipeline.

    Args:
      config: the run's configuration, with `serving.dir` set.
      pipeline_root: folder of the artifacts.
      checkpoints: folder of the checkpoints from which a killed training resumes.
      metadata_connection: the local metadata store; None on a cluster, which has its own.
      workers: a `launchers.cluster_job` configuration if the workers are pods of a cluster; None for local processes.
      reports_dir: folder to which each run's report is copied, in a folder per run; empty for no copy.

    Raises:
      ValueError: `serving.dir` is not set.
    """
    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=pipeline_root,
        components=_components(config, checkpoints, workers, reports_dir),
        enable_cache=True,
        metadata_connection_config=metadata_connection,
        beam_pipeline_args=flags.make_flags(config.beam),
    )


def _components(
    config: Config, checkpoints: str, workers: Optional[Mapping[str, Any]], reports_dir: str
) -> list[base_node.BaseNode]:
    data = _data_nodes(config)
    # Outside the Trainer's output folders, because a retry of a killed execution gets new ones.
    placement = {"checkpoints": checkpoints, **({"cluster_job": workers} if workers else {})}
    teachers = _teacher_nodes(config, data)
    taught_by = {name: node.outputs["labels"] for name, node in teachers.items()}
    encoder, trainer = _training_nodes(config, data, placement, taught_by)
    gates = _gate_nodes(config, data, encoder, trainer, taught_by)
    report = RunReport(
        examples=data["TsvExampleGen"].outputs["examples"],
        data_verdict=data["DataGate"].outputs["verdict"],
        encoder=encoder.outputs["encoder"],
        model_run=trainer.outputs["model_run"],
        model_blessing=gates["ModelGate"].outputs["blessing"],
        serving_blessing=gates["ServingValidator"].outputs["blessing"],
        pushed_model=gates["Pusher"].outputs["pushed_model"],
        pipeline_name=config.name,
        reports_dir=reports_dir,
        **taught_by,
    )
    return [*data.values(), *teachers.values(), encoder, trainer, *gates.values(), report]


def _data_nodes(config: Config) -> dict[str, base_node.BaseNode]:
    """Returns the nodes from input files to checked examples."""
    example_gen = TsvExampleGen(data=config.data.model_dump_json())
    examples = example_gen.outputs["examples"]
    # With sketches, memory does not grow with the number of different texts; above 16,384 their number is an estimate.
    sketched = stats_options.StatsOptions(use_sketch_based_topk_uniques=True)
    statistics_gen = StatisticsGen(examples=examples, stats_options=sketched)
    statistics = statistics_gen.outputs["statistics"]
    schema_gen = _schema(config, statistics)
    validator = ExampleValidator(statistics=statistics, schema=schema_gen.outputs["schema"])
    bounds = data_gate.Bounds(max_rejected_fraction=config.data.max_rejected_fraction, **config.gates.data.model_dump())
    gate = DataGate(
        examples=examples,
        statistics=statistics,
        schema=schema_gen.outputs["schema"],
        anomalies=validator.outputs["anomalies"],
        gate=gate_config.dump(config.task, bounds),
        serving_dir=_serving_dir(config),
    )
    return {
        "TsvExampleGen": example_gen,
        "StatisticsGen": statistics_gen,
        "SchemaGen": schema_gen,
        "ExampleValidator": validator,
        "DataGate": gate,
    }


def _teacher_nodes(config: Config, data: Mapping[str, base_node.BaseNode]) -> dict[str, base_node.BaseNode]:
    """Returns the node that asks the teachers, by the input that takes its labels; it waits for DataGate."""
    if config.distill is None:
        return {}
    labels = TeacherLabels(
        examples=data["TsvExampleGen"].outputs["examples"],
        config=config.distill.model_dump_json(include=teacher_labels.SETTINGS),
        task=json.dumps(task_to_json(config.task)),
    )
    labels.add_upstream_node(data["DataGate"])
    return {"teacher_labels": labels}


def _training_nodes(
    config: Config,
    data: Mapping[str, base_node.BaseNode],
    placement: Mapping[str, Any],
    taught_by: Mapping[str, BaseChannel],
) -> tuple[base_node.BaseNode, base_node.BaseNode]:
    """Returns the encoder and the Trainer, which both wait for DataGate."""
    examples = data["TsvExampleGen"].outputs["examples"]
    encoder = _encoder(config, examples, placement["checkpoints"])
    distill = {"distill": config.distill.model_dump(exclude=teacher_labels.SETTINGS)} if config.distill else {}
    trainer = (StudentTrainer if taught_by else Trainer)(
        **taught_by,
        run_fn=f"{run.__name__}.{run.run_fn.__name__}",
        examples=examples,
        schema=data["SchemaGen"].outputs["schema"],
        base_model=encoder.outputs["encoder"],
        train_args=trainer_pb2.TrainArgs(splits=[features.TRAIN_SPLIT]),
        eval_args=trainer_pb2.EvalArgs(splits=[features.DEV_SPLIT]),
        custom_config={
            "trainer": config.trainer.model_dump(),
            "task": task_to_json(config.task),
            "data": config.data.model_dump(include=model_card.LAYOUT),
            "format": export.FORMAT,
            **distill,
            **placement,
        },
    )
    encoder.add_upstream_node(data["DataGate"])
    trainer.add_upstream_node(data["DataGate"])
    return encoder, trainer


def _gate_nodes(
    config: Config,
    data: Mapping[str, base_node.BaseNode],
    encoder: base_node.BaseNode,
    trainer: base_node.BaseNode,
    taught_by: Mapping[str, BaseChannel],
) -> dict[str, base_node.BaseNode]:
    """Returns the nodes from the candidate model to the model in serving."""
    examples, model = data["TsvExampleGen"].outputs["examples"], trainer.outputs["model"]
    baseline = BaselineModel(model=model, serving_dir=_serving_dir(config))
    evaluator = Evaluator(
        examples=examples,
        model=model,
        baseline_model=baseline.outputs["baseline"],
        example_splits=[features.TEST_SPLIT],
        eval_config=evaluation.make_eval_config(config.task),
        module_path=evaluation.__name__,
    )
    gate = ModelGate(
        evaluation=evaluator.outputs["evaluation"],
        model=model,
        baseline=baseline.outputs["baseline"],
        gate=gate_config.dump(config.task, config.gates, model_gate.sections(config.distill is not None)),
        data_verdict=data["DataGate"].outputs["verdict"],
        **taught_by,
    )
    serving_validator = ServingValidator(
        model=model,
        model_run=trainer.outputs["model_run"],
        examples=examples,
        gate=gate_config.dump(config.task, config.gates.serving),
    )
    pusher = Pusher(
        model=model,
        model_blessing=gate.outputs["blessing"],
        infra_blessing=serving_validator.outputs["blessing"],
        baseline=baseline.outputs["baseline"],
        examples=examples,
        data_verdict=data["DataGate"].outputs["verdict"],
        encoder=encoder.outputs["encoder"],
        model_run=trainer.outputs["model_run"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=_serving_dir(config))
        ),
        custom_config={"name": config.name, **config.serving.model_dump(include={"keep", "allow_rolled_back"})},
    )
    return {
        "BaselineModel": baseline,
        "Evaluator": evaluator,
        "ModelGate": gate,
        "ServingValidator": serving_validator,
        "Pusher": pusher,
    }


def _serving_dir(config: Config) -> str:
    if config.serving.dir is None:
        raise ValueError("serving.dir is not set; the runner should set it")
    return config.serving.dir


def _schema(config: Config, statistics: BaseChannel) -> base_node.BaseNode:
    if config.data.schema_file is None:
        return SchemaGen(statistics=statistics, infer_feature_shape=True)
    return ImportSchemaGen(schema_file=config.data.schema_file)


def _encoder(config: Config, examples: BaseChannel, checkpoints: str) -> base_node.BaseNode:
    if config.encoder.source == "hub":
        return HubEncoder(
            handle=config.encoder.handle,
            preprocess=config.encoder.preprocess or "",
            sha256=config.encoder.sha256 or "",
            preprocess_sha256=config.encoder.preprocess_sha256 or "",
            mode=config.trainer.mode,
            max_length=config.trainer.max_length,
        )
    return EncoderPretrainer(
        examples=examples, config=config.encoder.pretrain.model_dump_json(), checkpoints=checkpoints
    )
