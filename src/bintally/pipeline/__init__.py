"""The whole job: stages, a run over them, what is written down of it, and how it is shown."""

from bintally.pipeline.job import Job, Stage
from bintally.pipeline.run import PipelineReport, run_pipeline
from bintally.pipeline.stages import PROMOTING, STAGES
from bintally.pipeline.walk import StageResult

__all__ = ["PROMOTING", "STAGES", "Job", "PipelineReport", "Stage", "StageResult", "run_pipeline"]
