"""What the teacher reads in place of the student's prompt: a context and a hint that the student never sees.

With them the teacher may be the same model as the student: prompt, context and on-policy self-distillation.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from omniopd.config.schema.teacher import HINT_PLACE, TeacherConfig
from omniopd.data.conversation import Conversation, Message
from omniopd.data.prompts import Prompt


@dataclass(frozen=True)
class Briefing:
    """`context` are messages before every prompt; `hint` is a template of the question.

    >>> brief = Briefing((Message("system", "Be exact."),), "{prompt} (It is {answer}.)")
    >>> [message.content for message in brief.messages(Prompt("p", "2+2=", columns={"answer": "4"}))]
    ['Be exact.', '2+2= (It is 4.)']
    """

    context: Conversation = ()
    hint: str | None = None

    def messages(self, prompt: Prompt) -> Conversation:
        """The prompt as the teacher reads it. A system message of the context replaces the prompt's."""
        history = prompt.history
        if self.context and self.context[0].role == "system":
            history = tuple(message for message in history if message.role != "system")
        return (*self._before(history), Message("user", self._question(prompt)))

    def _before(self, history: Conversation) -> Conversation:
        """The context between the system message and the turns of the prompt."""
        num_system = int(bool(history) and history[0].role == "system")
        return (*history[:num_system], *self.context, *history[num_system:])

    def _question(self, prompt: Prompt) -> str:
        if self.hint is None:
            return prompt.prompt
        texts: Mapping[str, str] = {**prompt.columns, "prompt": prompt.prompt}
        return HINT_PLACE.sub(lambda place: texts[place[1]], self.hint)


def briefing_of(config: TeacherConfig) -> Briefing:
    """The briefing of the settings."""
    return Briefing(tuple(Message(item.role, item.content) for item in config.context), config.hint)
