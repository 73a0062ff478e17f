"""What params.yaml may hold, block by block, and the settings of one run."""

from omniopd.config.schema.compute import Compute, Place, Step
from omniopd.config.schema.evaluation import Benchmarks, Evaluation
from omniopd.config.schema.models import DEMO, DEMO_CONTEXT, DemoModel, DemoModels, DemoStart, Models
from omniopd.config.schema.params import ARM_LEN, Arm, Comparison, Methods, Params, RunConfig, Sweep
from omniopd.config.schema.prompts import Decontaminate, EvaluationSet, PromptColumns, Prompts
from omniopd.config.schema.teacher import (
    KEY_HEADER,
    KEY_NAMES,
    MAPPINGS,
    OWNED_BY_CALLS,
    TeacherConfig,
    TeacherPrices,
)
from omniopd.config.schema.tracking import Alarms, Tracking
from omniopd.config.schema.training import Lora, Precision, Rollout, Train
from omniopd.settings import Section

__all__ = [
    "ARM_LEN",
    "DEMO",
    "DEMO_CONTEXT",
    "KEY_HEADER",
    "KEY_NAMES",
    "MAPPINGS",
    "OWNED_BY_CALLS",
    "Alarms",
    "Arm",
    "Benchmarks",
    "Comparison",
    "Compute",
    "Decontaminate",
    "DemoModel",
    "DemoModels",
    "DemoStart",
    "Evaluation",
    "EvaluationSet",
    "Lora",
    "Methods",
    "Models",
    "Params",
    "Place",
    "Precision",
    "PromptColumns",
    "Prompts",
    "Rollout",
    "RunConfig",
    "Section",
    "Step",
    "Sweep",
    "TeacherConfig",
    "TeacherPrices",
    "Tracking",
    "Train",
]
