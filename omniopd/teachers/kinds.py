"""The kinds of teachers: their properties before loading, and how each is loaded."""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from omniopd.config import TeacherConfig, imported
from omniopd.data.conversation import Conversation
from omniopd.errors import ConfigError
from omniopd.teachers.base import Teacher
from omniopd.teachers.estimate import TeacherProfile
from omniopd.teachers.in_process import InProcessTeacher
from omniopd.teachers.prices import Prices

if TYPE_CHECKING:
    from omniopd.teachers.probe import ProbeResult

FREE = 2**31  # replies per call where calls cost nothing


class Kind:
    """A teacher before it is loaded. This base class is for user-defined teachers."""

    is_api: ClassVar[bool] = False  # called over the network, after a probe, for money
    in_process: ClassVar[bool] = False  # its weights are loaded into the calling process

    def __init__(self, config: TeacherConfig):
        self.config = config

    def check(self, root: Path) -> None:
        """Fail early where the teacher cannot be created. root is the folder of params.yaml.

        Raises:
            ConfigError: its class cannot be imported, its key is missing, or a budget cannot be enforced.
        """
        del root
        self.make_class()

    def make_class(self) -> Callable[..., Teacher]:
        """Its class, which takes the arguments of InProcessTeacher.

        Raises:
            ConfigError: it cannot be imported.
        """
        try:
            return cast(Callable[..., Teacher], imported(self.config.kind))
        except ConfigError as error:
            raise ConfigError(f"teacher.kind: {error}") from error

    def load(self, path: str, *, root: Path, probed: "ProbeResult | None") -> Teacher:
        """The teacher. path is the directory or hub name that `base` resolved.

        Raises:
            ConfigError: as `check`.
        """
        del root, probed
        config = self.config
        optional = {"template_kwargs": config.chat_template_kwargs} if config.chat_template_kwargs else {}
        return self.make_class()(
            path, name=config.model, temperature=config.temperature, batch_size=config.batch_size, **optional
        )

    def probe(
        self, prompts: Sequence[Conversation], *, tokens_of: Callable[[str], Sequence[int]], root: Path
    ) -> "ProbeResult | None":
        """How to ask it; None where that needs no probe.

        Raises:
            ConfigError: as `check`.
            TeacherError: it does not continue a prefix.
        """
        del prompts, tokens_of, root

    def prices(self, root: Path) -> Prices:
        """What its tokens cost."""
        del root
        return Prices()

    def profile(self, *, has_students_vocabulary: Callable[[], bool]) -> TeacherProfile:
        """What an estimate of its cost depends on, as far as known before the first call."""
        shares = self.config.tokenizer != "other"
        if self.config.is_local and self.config.tokenizer == "auto":
            shares = has_students_vocabulary()
        return TeacherProfile(FREE, 0, shares_tokens=shares, count=_count_student_tokens)


class InProcess(Kind):
    """A transformers model in the process that asks."""

    in_process = True

    def make_class(self) -> Callable[..., Teacher]:
        return InProcessTeacher


class Vllm(Kind):
    """A model on a vLLM engine of this machine."""

    def make_class(self) -> Callable[..., Teacher]:
        try:
            from omniopd.teachers.vllm_engine import VllmTeacher
        except ImportError as error:
            raise ConfigError(
                f"teacher.kind: vllm cannot be imported ({error}); install omniopd[vllm], or take transformers"
            ) from error
        return lambda *args, **kwargs: VllmTeacher(*args, engine=self.config.engine, **kwargs)


class Api(Kind):
    """A model behind an API."""

    is_api = True

    @cached_property
    def _api(self):
        from omniopd.teachers import api  # imported when used: litellm takes seconds

        return api

    def check(self, root: Path) -> None:
        self._api.tabled(self.config.model, self.config.base_url)
        self._api.endpoint_of(self.config, root=root)

    def load(self, path: str, *, root: Path, probed: "ProbeResult | None") -> Teacher:
        del path
        assert probed is not None, "the flow probes an API before it asks"
        return self._api.api_teacher(self.config, probed, root=root)

    def probe(
        self, prompts: Sequence[Conversation], *, tokens_of: Callable[[str], Sequence[int]], root: Path
    ) -> "ProbeResult | None":
        return self._api.probe_api(self.config, prompts, tokens_of=tokens_of, root=root)

    def prices(self, root: Path) -> Prices:
        return self._api.endpoint_of(self.config, root=root).prices

    def profile(self, *, has_students_vocabulary: Callable[[], bool]) -> TeacherProfile:
        """As `Kind.profile`. Models in litellm's price table are assumed to have other tokens than the student."""
        from omniopd.teachers.capabilities import tabled_prices, token_counter

        del has_students_vocabulary
        model = self.config.model
        known = self._api.tabled(model, self.config.base_url)
        shares = self.config.tokenizer == "student"
        if self.config.tokenizer == "auto":
            shares = tabled_prices(model) is None
        count = _count_student_tokens if shares else lambda text, ids: token_counter(model, text)  # noqa: ARG005
        return TeacherProfile(known.samples_per_call, known.caches_from, shares_tokens=shares, count=count)


KINDS: dict[str, type[Kind]] = {"transformers": InProcess, "vllm": Vllm, "api": Api}


def kind_of(config: TeacherConfig) -> Kind:
    """The kind that `teacher.kind` names."""
    return KINDS.get(config.kind, Kind)(config)


def _count_student_tokens(text: str, ids: Sequence[int]) -> int:
    del text
    return len(ids)
