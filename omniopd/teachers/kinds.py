"""The kinds of teachers: what is known of one before it is loaded, and how it is loaded."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from omniopd.config import TeacherConfig, imported
from omniopd.errors import ConfigError
from omniopd.teachers.base import Teacher
from omniopd.teachers.estimate import Asked
from omniopd.teachers.in_process import InProcessTeacher
from omniopd.teachers.prices import Prices

if TYPE_CHECKING:
    from omniopd.teachers.probe import Found

FREE = 2**31  # replies that one call may bring where calls cost nothing


class Kind:
    """What is known of a teacher before it is loaded. This base is for classes of the user's own."""

    is_api: ClassVar[bool] = False  # asked over the network, after a probe, for money
    in_process: ClassVar[bool] = False  # its weights are in the memory of the process that asks

    def __init__(self, config: TeacherConfig):
        self.config = config

    def check(self, root: Path) -> None:
        """Raise where such a teacher cannot be made, before anything is loaded. root is the folder of params.yaml.

        Raises:
            ConfigError: its class cannot be imported, its key is missing, or a budget cannot be kept.
        """
        del root
        self.make_class()

    def make_class(self) -> Callable[..., Teacher]:
        """What makes it, called as InProcessTeacher is.

        Raises:
            ConfigError: it cannot be imported.
        """
        try:
            return cast(Callable[..., Teacher], imported(self.config.kind))
        except ConfigError as error:
            raise ConfigError(f"teacher.kind: {error}") from error

    def load(self, path: str, *, root: Path, found: "Found | None") -> Teacher:
        """The teacher, from the directory or hub name that `base` resolved; found is what its probe found.

        Raises:
            ConfigError: as `check`.
        """
        del root, found
        config = self.config
        return self.make_class()(
            path, name=config.model, temperature=config.temperature, batch_size=config.batch_size
        )

    def probe(
        self, prompts: Sequence[str], *, tokens_of: Callable[[str], Sequence[int]], root: Path
    ) -> "Found | None":
        """How it is to be asked; None where there is nothing to find out.

        Raises:
            ConfigError: as `check`.
            TeacherError: it does not continue a prefix.
        """
        del prompts, tokens_of, root

    def prices(self, root: Path) -> Prices:
        """What its tokens cost."""
        del root
        return Prices()

    def asked(self, *, has_students_vocabulary: Callable[[], bool]) -> Asked:
        """How it will be asked, as far as that is known before it is."""
        shares = self.config.tokenizer != "other"
        if self.config.is_local and self.config.tokenizer == "auto":
            shares = has_students_vocabulary()
        return Asked(FREE, 0, shares_tokens=shares, count=_students)


class InProcess(Kind):
    """A transformers model in the process that asks."""

    in_process = True

    def make_class(self) -> Callable[..., Teacher]:
        """See `Kind`."""
        return InProcessTeacher


class Vllm(Kind):
    """A model on a vLLM engine of this machine."""

    def make_class(self) -> Callable[..., Teacher]:
        """See `Kind`."""
        try:
            from omniopd.teachers.vllm_engine import VllmTeacher
        except ImportError as error:
            raise ConfigError(
                f"teacher.kind: vllm cannot be imported ({error}); install omniopd[vllm], or take transformers"
            ) from error
        return lambda *args, **kwargs: VllmTeacher(*args, engine=self.config.engine, **kwargs)


class Api(Kind):
    """A model behind an API. Its modules are imported when used: litellm takes seconds."""

    is_api = True

    def check(self, root: Path) -> None:
        """See `Kind`."""
        from omniopd.teachers.api import capabilities_of, endpoint_of

        capabilities_of(self.config)
        endpoint_of(self.config, root=root)

    def load(self, path: str, *, root: Path, found: "Found | None") -> Teacher:
        """See `Kind`."""
        from omniopd.teachers.api import api_teacher

        del path
        assert found is not None, "the flow probes an API before it asks"
        return api_teacher(self.config, found, root=root)

    def probe(
        self, prompts: Sequence[str], *, tokens_of: Callable[[str], Sequence[int]], root: Path
    ) -> "Found | None":
        """See `Kind`."""
        from omniopd.teachers.api import find_way

        return find_way(self.config, prompts, tokens_of=tokens_of, root=root)

    def prices(self, root: Path) -> Prices:
        """See `Kind`."""
        from omniopd.teachers.api import endpoint_of

        return endpoint_of(self.config, root=root).prices

    def asked(self, *, has_students_vocabulary: Callable[[], bool]) -> Asked:
        """See `Kind`. A model in litellm's price table has other tokens; the rest are taken to have the student's."""
        from omniopd.teachers.api import capabilities_of
        from omniopd.teachers.capabilities import tabled_prices, token_counter

        del has_students_vocabulary
        known, model = capabilities_of(self.config), self.config.model
        shares = self.config.tokenizer == "student"
        if self.config.tokenizer == "auto":
            shares = tabled_prices(model) is None
        count = _students if shares else lambda text, ids: token_counter(model, text)  # noqa: ARG005
        return Asked(known.samples_per_call, known.caches_from, shares_tokens=shares, count=count)


KINDS: dict[str, type[Kind]] = {"transformers": InProcess, "vllm": Vllm, "api": Api}


def kind_of(config: TeacherConfig) -> Kind:
    """The kind of teacher that params name."""
    return KINDS.get(config.kind, Kind)(config)


def _students(text: str, ids: Sequence[int]) -> int:
    del text
    return len(ids)
