"""The changelog: the form of keepachangelog.com, with one short line per entry."""

import re
import tomllib
from collections.abc import Iterator

import pytest
from packaging.version import Version
from projects import REPOSITORY

KINDS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
MAX_WORDS = 25
RELEASE = re.compile(r"\[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}")


def sections(text: str, level: str) -> list[tuple[str, str]]:
    """(heading, body) of each section of that level."""
    parts = re.split(rf"^{level} (.*)$", text, flags=re.M)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def releases(text: str) -> list[Version]:
    """Released versions, in the order of the file."""
    return [Version(match[1]) for title, _ in sections(text, "##") if (match := RELEASE.fullmatch(title))]


def problems(text: str) -> Iterator[str]:
    titles = [title for title, _ in sections(text, "##")]
    if titles[:1] != ["[Unreleased]"]:
        yield "the first version is not [Unreleased]"
    if len(releases(text)) != len(titles) - 1:
        yield "a release is not `[x.y.z] - YYYY-MM-DD`"
    if releases(text) != sorted(set(releases(text)), reverse=True):
        yield "releases are not in order"
    for _, body in sections(text, "##"):
        yield from problems_of_a_version(body)


def problems_of_a_version(body: str) -> Iterator[str]:
    kinds = [kind for kind, _ in sections(body, "###")]
    if kinds != [kind for kind in KINDS if kind in kinds]:
        yield f"unknown, repeated or disordered kinds: {kinds}"
    lines = [line for _, entries in sections(body, "###") for line in entries.splitlines() if line]
    if len(lines) != len(set(lines)):
        yield "an entry occurs twice"
    for line in lines:
        if not re.fullmatch(r"- \S.*\.", line):
            yield f"not one line that ends with a full stop: {line}"
        if len(line.split()) - 1 > MAX_WORDS:
            yield f"more than {MAX_WORDS} words: {line}"


def test_the_changelog_has_the_form():
    text = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")

    assert text.startswith("# Changelog\n")
    assert list(problems(text)) == []
    assert len(sections(text, "###")) >= 3


def test_the_package_is_not_older_than_the_last_release():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    released = releases((REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8"))

    assert Version(project["version"]) >= max(released, default=Version("0.2.0.dev0"))


GOOD = "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- One.\n\n### Fixed\n\n- Two.\n\n## [0.2.0] - 2027-01-02\n"
BROKEN = {
    "not [Unreleased]": ("[Unreleased]", "0.3.0 (unreleased)"),
    "YYYY-MM-DD": (" - 2027-01-02", ""),
    "not in order": ("## [0.2.0]", "## [0.1.0] - 2026-01-02\n\n## [0.2.0]"),
    "kinds": ("### Fixed", "### Improved"),
    "disordered": ("### Fixed", "### Added"),
    "twice": ("Two", "One"),
    "full stop": ("One.", "One"),
    "one line": ("One.", "One.\n  More."),
    "25 words": ("One.", "word " * 25 + "word."),
}


def test_good_examples_have_no_problems():
    assert list(problems(GOOD)) == list(problems(GOOD.replace("One.", "word " * 24 + "word."))) == []


@pytest.mark.parametrize(("complaint", "edit"), BROKEN.items(), ids=BROKEN)
def test_each_departure_from_the_form_is_named(complaint: str, edit: tuple[str, str]):
    assert any(complaint in problem for problem in problems(GOOD.replace(*edit)))
