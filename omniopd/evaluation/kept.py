"""Samples that measurements draw are kept: those of a student before its run are the same for every arm of a seed."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from omniopd import RESULTS_VERSION
from omniopd.data.decoding import Decoding
from omniopd.data.layout import Layout
from omniopd.data.lock import one_at_a_time
from omniopd.data.receipts import valid_receipt, work_key, write_receipt
from omniopd.data.records import Int32
from omniopd.data.store import read_records, write_records
from omniopd.models.generation import Generation
from omniopd.sampling.samplers import Sample, Sampler


@dataclass(frozen=True)
class KeptSample(Generation):
    """A sample as it is kept, with the weights that wrote it."""

    token_ids: list[Int32]
    weights: str = ""


class KeptSampler:
    """Another sampler, whose samples are kept in `.cache/samples` and read where the same are asked for again.

    They are known by everything that decides them: tokens of the prompts, seeds, decoding and stop tokens; the weights
    that must write them; and `engine`, the settings that rounding depends on, with the batch size. Grades are
    not kept: a changed grader grades the kept samples again.
    """

    def __init__(self, sampler: Sampler, layout: Layout, *, weights: str, engine: Mapping[str, Any]):
        self._sampler = sampler
        self._layout = layout
        self._identity = (RESULTS_VERSION, weights, dict(engine))

    def sample(
        self,
        prompts: Sequence[list[int]],
        *,
        seeds: Sequence[Sequence[int]],
        max_new_tokens: int,
        decoding: Decoding,
        stop_ids: Sequence[int],
    ) -> list[list[Sample]]:
        key = work_key("samples", self._identity, prompts, seeds, max_new_tokens, asdict(decoding), stop_ids)
        path, receipt = self._layout.samples(key), self._layout.samples(key).with_suffix(".json")
        with one_at_a_time(path.with_suffix(".lock")):
            if valid_receipt(receipt, key=key, base=path.parent) is None:
                drawn = self._sampler.sample(
                    prompts, seeds=seeds, max_new_tokens=max_new_tokens, decoding=decoding, stop_ids=stop_ids
                )
                write_records(path, [_kept(sample) for group in drawn for sample in group], KeptSample)
                write_receipt(receipt, key=key, files=[path], base=path.parent)
        samples = (Sample(kept, kept.weights) for kept in read_records(path, KeptSample))
        return [list(islice(samples, len(group))) for group in seeds]


def _kept(sample: Sample) -> KeptSample:
    return KeptSample(**asdict(sample.generation), weights=sample.weights)
