"""Runs the components of a pipeline on this machine, one after the other, and records the outcome of each.

TFX's LocalDagRunner only writes log lines. This runner launches the same nodes with the same public classes, and
records what the summary needs: status, seconds, cached, output artifacts.
"""

import time
from typing import Any, Optional, Sequence

from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.portable import beam_executor_operator, launcher, runtime_parameter_utils, tfx_runner
from tfx.orchestration.portable.mlmd import execution_lib
from tfx.proto.orchestration import executable_spec_pb2, pipeline_pb2

from local import store
from local.outcome import NodeOutcome
from local.terminal import Terminal


class DagRunner(tfx_runner.IrBasedRunner):
    """Runs the nodes in topological order; `outcomes` has one entry per node, in that order."""

    # Set before the run: flags of the components that use Beam. Results do not depend on them, but TFX's cache would if
    # they were in the pipeline.
    beam_flags: Sequence[str] = ()

    def __init__(self, run: str, terminal: Terminal, folder: str):
        """Creates a runner.

        Args:
          run: id of the run, also in the metadata store and in the record of a push.
          terminal: shows each component as it starts and ends.
          folder: folder of the pipeline, where `local.store` seals the outputs.
        """
        self._run = run
        self._terminal = terminal
        self._folder = folder
        self.outcomes: Sequence[NodeOutcome] = ()

    def run_with_ir(
        self,
        pipeline: pipeline_pb2.Pipeline,
        run_options: Optional[pipeline_pb2.RunOptions] = None,
        **kwargs: Any,
    ) -> None:
        """Runs a compiled pipeline; raises the exception of the first component that fails."""
        runtime_parameter_utils.substitute_runtime_parameter(
            pipeline, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: self._run}
        )
        self.outcomes = [NodeOutcome(node.pipeline_node.node_info.id) for node in pipeline.nodes]
        for node, outcome in zip(pipeline.nodes, self.outcomes, strict=True):
            self._run_node(pipeline, node.pipeline_node, outcome)

    def _run_node(self, pipeline: pipeline_pb2.Pipeline, node: pipeline_pb2.PipelineNode, outcome: NodeOutcome) -> None:
        deployment = runner_utils.extract_local_deployment_config(pipeline)
        connection = metadata.Metadata(_connection(deployment))
        node_launcher = launcher.Launcher(
            pipeline_node=node,
            mlmd_connection=connection,
            pipeline_info=pipeline.pipeline_info,
            pipeline_runtime_spec=pipeline.runtime_spec,
            custom_executor_operators={executable_spec_pb2.BeamExecutableSpec: self._make_beam_operator},
            executor_spec=runner_utils.extract_executor_spec(deployment, outcome.id),
            custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, outcome.id),
        )
        self._terminal.start(outcome.id)
        start = time.monotonic()
        outcome.status = "failed"
        try:
            execution = node_launcher.launch()
            with connection as handle:
                state = handle.store.get_executions_by_id([execution.execution_id])[0].last_known_state
                outputs = execution_lib.get_output_artifacts(handle, execution.execution_id)
            if state not in (metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED):
                raise RuntimeError(f"{outcome.id}: inputs not resolved; the metadata store may be damaged")
            outcome.outputs = {name: artifacts[0] for name, artifacts in outputs.items() if artifacts}
            outcome.cached = state == metadata_store_pb2.Execution.CACHED
            outcome.status = "complete"
            if not outcome.cached:
                store.seal(self._folder, list(outcome.outputs.values()))
        except KeyboardInterrupt:
            outcome.status = "interrupted"
            raise
        finally:
            outcome.seconds = time.monotonic() - start
            self._terminal.end(outcome)

    def _make_beam_operator(
        self, executor_spec: executable_spec_pb2.BeamExecutableSpec, platform_config: Any = None
    ) -> beam_executor_operator.BeamExecutorOperator:
        with_flags = executable_spec_pb2.BeamExecutableSpec()
        with_flags.CopyFrom(executor_spec)
        for flag in self.beam_flags:
            with_flags.beam_pipeline_args_placeholders.add().value.string_value = flag
        return beam_executor_operator.BeamExecutorOperator(with_flags, platform_config)


def _connection(deployment: Any) -> metadata_store_pb2.ConnectionConfig:
    config = deployment.metadata_connection_config
    return getattr(config, config.WhichOneof("connection_config"))
