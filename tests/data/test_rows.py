"""Rows in padded and packed batches, and within a budget of tokens."""

from hypothesis import given
from hypothesis import strategies as st

from omniopd.data.rows import Row, collate, grouped

lengths = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 12)), min_size=1, max_size=20)


def _rows(sizes: list[tuple[int, int]]) -> list[Row]:
    return [
        Row(f"r{i}", list(range(1, p + 1)), list(range(20, 20 + r)), {"weight": [float(i)] * r})
        for i, (p, r) in enumerate(sizes)
    ]


@given(lengths, st.integers(1, 6), st.none() | st.integers(1, 60), st.booleans())
def test_each_row_is_in_one_group_and_groups_keep_within_the_budget(sizes, batch_size, batch_tokens, packed):
    rows = _rows(sizes)
    groups = grouped(rows, batch_size=batch_size, batch_tokens=batch_tokens, packed=packed)
    assert sorted(row.id for group in groups for row in group) == sorted(row.id for row in rows)
    if batch_tokens is None:
        assert [row for group in groups for row in group] == rows
    for group in groups:
        assert 1 <= len(group) <= batch_size
        size = collate(group, pad_id=0, packed=packed).input_ids.numel()
        assert batch_tokens is None or size <= batch_tokens or len(group) == 1


@given(lengths, st.booleans())
def test_index_points_before_each_response_token_and_columns_match_it(sizes, packed: bool):
    rows = _rows(sizes)
    batch = collate(rows, pad_id=0, packed=packed)
    tokens = batch.input_ids.flatten()
    assert tokens[batch.index + 1].tolist() == batch.token_ids.tolist()
    assert batch.token_ids.tolist() == [token for row in rows for token in row.response_ids]
    assert batch.columns["weight"].tolist() == [
        float(i) for i, row in enumerate(rows) for _ in row.response_ids
    ]
    assert list(batch.lengths) == [len(row.response_ids) for row in rows]
    if packed:
        assert batch.input_ids.shape == (1, sum(map(len, rows)))
        assert batch.position_ids is not None
        starts = (batch.position_ids == 0).sum().item()
        assert starts == len(rows)
