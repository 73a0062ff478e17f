"""params.yaml: its schema, its checks, and the settings of one run resolved from it."""

from omniopd.config.load import (
    as_yaml,
    builtin_task,
    demo_problems,
    load_params,
    method_class,
    resolve,
    task_problems,
)
from omniopd.config.overrides import nested, parsed, variant_of
from omniopd.config.plugins import imported, make_importable
from omniopd.config.schema.evaluation import Benchmarks, Evaluation, Example
from omniopd.config.schema.models import DEMO, DEMO_CONTEXT, DemoModel
from omniopd.config.schema.params import Arm, Methods, Params, RunConfig
from omniopd.config.schema.prompts import Prompts
from omniopd.config.schema.sampling import MinP, Stop, TopK, TopP
from omniopd.config.schema.teacher import HINT_PLACE, TeacherConfig
from omniopd.config.schema.tracking import Tracking
from omniopd.config.schema.training import Lora, Precision, Rollout, Train
from omniopd.settings import Section

__all__ = [
    "DEMO",
    "DEMO_CONTEXT",
    "HINT_PLACE",
    "Arm",
    "Benchmarks",
    "DemoModel",
    "Evaluation",
    "Example",
    "Lora",
    "Methods",
    "MinP",
    "Params",
    "Precision",
    "Prompts",
    "Rollout",
    "RunConfig",
    "Section",
    "Stop",
    "TeacherConfig",
    "TopK",
    "TopP",
    "Tracking",
    "Train",
    "as_yaml",
    "builtin_task",
    "demo_problems",
    "imported",
    "load_params",
    "make_importable",
    "method_class",
    "nested",
    "parsed",
    "resolve",
    "task_problems",
    "variant_of",
]
