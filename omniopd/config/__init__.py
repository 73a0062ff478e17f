"""params.yaml: its schema, its checks, and the settings of one run resolved from it."""

from omniopd.config.load import (
    builtin_task,
    demo_problems,
    load_params,
    method_class,
    resolve,
    task_problems,
)
from omniopd.config.overrides import nested, parsed, variant_of
from omniopd.config.plugins import imported, make_importable
from omniopd.config.schema import (
    DEMO,
    DEMO_CONTEXT,
    Arm,
    DemoModel,
    Evaluation,
    Lora,
    Methods,
    Params,
    Precision,
    Rollout,
    RunConfig,
    Section,
    TeacherConfig,
    Tracking,
    Train,
)

__all__ = [
    "DEMO",
    "DEMO_CONTEXT",
    "Arm",
    "DemoModel",
    "Evaluation",
    "Lora",
    "Methods",
    "Params",
    "Precision",
    "Rollout",
    "RunConfig",
    "Section",
    "TeacherConfig",
    "Tracking",
    "Train",
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
