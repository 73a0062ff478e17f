"""Tasks small enough to learn on a CPU: what is asked, how it is worked out, what is right."""

from omniopd.tasks.addition import Addition
from omniopd.tasks.problem import Problem, Task, distinct_problems

TASKS: dict[str, Task] = {task.name: task for task in (Addition(),)}

__all__ = ["TASKS", "Addition", "Problem", "Task", "distinct_problems"]
