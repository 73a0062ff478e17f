"""params.yaml: its schema, its checks, and the settings of one run resolved from it."""

from omniopd.config.load import (
    as_yaml,
    builtin_task,
    demo_problems,
    load_inputs,
    load_params,
    method_class,
    resolve,
    run_of,
    task_problems,
)
from omniopd.config.overrides import parsed, variant_of
from omniopd.config.plugins import imported, make_importable
from omniopd.config.schema.evaluation import Benchmarks, Evaluation
from omniopd.config.schema.models import DEMO, DEMO_CONTEXT, DemoModel
from omniopd.config.schema.params import Params, RunConfig
from omniopd.config.schema.prompts import Prompts
from omniopd.config.schema.teacher import TeacherConfig
from omniopd.config.schema.tracking import Tracking
from omniopd.config.schema.training import Lora, Precision, Train
from omniopd.config.single import differing, single_run, with_paths, without_machine, yaml_text

__all__ = [
    "DEMO",
    "DEMO_CONTEXT",
    "Benchmarks",
    "DemoModel",
    "Evaluation",
    "Lora",
    "Params",
    "Precision",
    "Prompts",
    "RunConfig",
    "TeacherConfig",
    "Tracking",
    "Train",
    "as_yaml",
    "builtin_task",
    "demo_problems",
    "differing",
    "imported",
    "load_inputs",
    "load_params",
    "make_importable",
    "method_class",
    "parsed",
    "resolve",
    "run_of",
    "single_run",
    "task_problems",
    "variant_of",
    "with_paths",
    "without_machine",
    "yaml_text",
]
