"""The Dagster resource: the working set of a run, and the proof of a run that failed before its summary."""

from __future__ import annotations

import os

import dagster as dg
from pydantic import Field, PrivateAttr

from embedder_assets.assets.processing_summary import manifest_file, tag_run, write_summary
from embedder_assets.corpus.s3_sync import sync_corpus
from embedder_assets.environment import variable_warnings
from embedder_assets.partitions import collections_of_run, register
from embedder_assets.permissions import restrict_permissions
from embedder_assets.run_context import Pipeline
from embedder_assets.sanitize import one_line
from embedder_assets.serving.models.configured import require_models
from embedder_assets.settings import FIELDS, load_settings
from embedder_assets.telemetry.footer import render_footer


class PipelineResource(dg.ConfigurableResource[Pipeline]):
    """Settings that a person may change for one run in the launch pad; unset ones keep their value."""

    corpus_dir: str | None = Field(default=None, description=FIELDS["corpus_dir"].description)
    enable_sparse: bool | None = Field(default=None, description=FIELDS["enable_sparse"].description)
    enable_rerank: bool | None = Field(default=None, description=FIELDS["enable_rerank"].description)
    max_lost_share: float | None = Field(default=None, description=FIELDS["max_lost_share"].description)

    _pipeline: Pipeline | None = PrivateAttr(default=None)

    def create_resource(self, context: dg.InitResourceContext) -> Pipeline:
        """Resolves the settings and opens nothing else: Triton starts with the first inference."""
        chosen = {name: getattr(self, name) for name in type(self).model_fields if name in FIELDS}
        overrides = {name: (value, "run_config") for name, value in chosen.items() if value is not None}
        settings = load_settings(overrides)
        restrict_permissions(settings.home)
        self._pipeline = Pipeline(settings)
        if context.log is not None:
            for sentence in variable_warnings(os.environ):
                context.log.warning(one_line(sentence))
        if context.instance is not None and context.run is not None:
            self._pipeline.run_lock.hold(context.run.run_id)
            # At the start, since a run that retries another one has been given the tags of that one.
            tag_run(context.instance, context.run.run_id, manifest_file(self._pipeline, context.run.run_id))
            # Backfills take registered collections only, and a run from the command line takes any.
            register(context.instance, collections_of_run(context.instance, context.run))
        require_models(self._pipeline.settings)
        sync_corpus(self._pipeline.settings)
        return self._pipeline

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Ends what the run started, and writes the summary of a run that failed before it came to that."""
        if self._pipeline is None:
            return
        try:
            _summarize_failure(self._pipeline, context)
        finally:
            self._pipeline.close()


def _summarize_failure(pipeline: Pipeline, context: dg.InitResourceContext) -> None:
    instance, run = context.instance, context.run
    if instance is None or run is None or manifest_file(pipeline, run.run_id).exists():
        return
    if instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        names = collections_of_run(instance, run)
        pipeline.show_footer(render_footer(write_summary(pipeline, instance, run.run_id, names, succeeded=False)))
