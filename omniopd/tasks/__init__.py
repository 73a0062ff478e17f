"""Tasks small enough to learn on a CPU: prompts, worked solutions and answers."""

from omniopd.tasks.addition import Addition
from omniopd.tasks.chain import Chain
from omniopd.tasks.problem import Problem, Task, distinct_problems

TASKS: dict[str, Task] = {task.name: task for task in (Addition(), Chain())}

__all__ = ["TASKS", "Addition", "Chain", "Problem", "Task", "distinct_problems"]
