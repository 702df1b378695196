"""Which paths a glob of ``metadata.jsonl`` stands for."""

import time

import pytest

from embedder_assets.corpus.metadata.globs import compile_glob
from embedder_assets.corpus.metadata.rules import MetadataRules

PATHS = ["a.md", "manuals/a.pdf", "manuals/deep/b.pdf", "x/manuals/c.pdf", "data[1].md", "mail.eml/plan.pdf"]


@pytest.mark.parametrize(
    ("glob", "found"),
    [
        ("a.md", "0"),
        ("a.*", "01"),
        ("/a.*", "0"),
        ("*.pdf", "1235"),
        ("/*.pdf", ""),
        ("manuals/*.pdf", "1"),
        ("manuals/**/*.pdf", "12"),
        ("manuals/**", "12"),
        ("/manuals/**", "12"),
        ("manuals/a.pdf/**", ""),
        ("manuals/a**", "1"),
        ("a.md/", ""),
        ("mail.eml/", "5"),
        ("mail.eml/**", "5"),
        ("manuals/", "123"),
        ("/manuals", "12"),
        ("manuals", "123"),
        ("manuals/deep", "2"),
        ("**/manuals/**", "123"),
        ("**/*.pdf", "1235"),
        ("**", "012345"),
        ("/**", "012345"),
        ("*", "012345"),
        ("?.md", "0"),
        ("[a-c].*", "0123"),
        ("[!a].pdf", "23"),
        ("data[1].md", "4"),
        ("data[[]1].md", "4"),
        ("mail.eml", "5"),
        ("mail.*/*", "5"),
        ("m*l.eml", "5"),
        ("A.md", ""),
        (".md", ""),
        ("manuals/*/*", "2"),
        ("[", ""),
        ("dat*1*.m?", "4"),
    ],
)
def test_a_glob_stands_for_paths(glob, found):
    rules = MetadataRules()
    rules.add(1, glob, {"x": 1})
    assert [str(at) for at, path in enumerate(PATHS) if list(rules.fields_of(path))] == [*found]


@pytest.mark.parametrize("glob", ["[z-a]", "/", "**/a/**/b/**/c/**/d/**/e/**/f"])
def test_what_is_no_glob_is_refused(glob):
    with pytest.raises(ValueError, match="path"):
        compile_glob(glob)


@pytest.mark.parametrize("glob", ["*a" * 200 + "b", "**/*a*a*a*a*b/**/x/**", "?*" * 300, "*" * 5000 + "b"])
def test_no_glob_is_slow(glob):
    path = "/".join(["a" * 120] * 30)
    start = time.perf_counter()
    compile_glob(glob).fullmatch(path)
    assert time.perf_counter() - start < 1


def test_rules_with_names_of_files_are_looked_up():
    rules = MetadataRules()
    for number in range(20_000):
        rules.add(number, f"folder/{number}.md", {"x": number})
        rules.add(number, f"folder{number}/**", {"x": number})
    start = time.perf_counter()
    assert all(next(rules.fields_of(f"folder/{number}.md")) == {"x": number} for number in range(20_000))
    assert time.perf_counter() - start < 5
