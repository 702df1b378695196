"""What a page says of itself."""

import pytest

from tests.support.corpora.extraction import document
from tests.support.corpora.web import page


def stated(head: str, root: str = "<html>") -> dict[str, object]:
    return page(f"<!doctype html>{root}<head><title>T</title>{head}</head><body><p>x").metadata


def test_metadata_reaches_the_document(collection):
    found = document(collection, "a.html", "<html lang=de><meta name=keywords content='Pumpe, Ventil'><p>x")
    assert found.source_metadata == '{"keywords": ["Pumpe", "Ventil"], "language": "de"}'


def test_fields_are_read_from_meta_elements():
    assert stated(
        '<meta name="keywords" content="pump, valve; pump"><meta property="article:tag" content="water">'
        '<meta name=Description content=" All  about it "><meta name=author content="Ann Lee">'
        '<meta property="article:published_time" content="2025-03-01T10:00:00+01:00"><meta name=revised content=2025>',
        '<html lang="pt-BR">',
    ) == {
        "language": "pt-BR",
        "created": "2025-03-01T10:00:00+01:00",
        "modified": "2025",
        "keywords": ["pump", "valve", "water"],
        "description": "All about it",
        "author": "Ann Lee",
    }


def test_fields_are_read_from_linked_data():
    data = """{"@context": "https://schema.org", "@graph": [{"@type": "WebSite", "description": "The site"},
      {"@type": "TechArticle", "datePublished": "2024-05-06", "dateModified": "2024-07-08T09:10:11Z",
       "author": [{"@type": "Person", "name": "Ann Lee"}], "keywords": "pump", "inLanguage": "en_GB"}]}"""
    assert stated(f'<script type="application/ld+json">{data}</script>') == {
        "language": "en-GB",
        "created": "2024-05-06",
        "modified": "2024-07-08T09:10:11+00:00",
        "keywords": ["pump"],
        "author": "Ann Lee",
    }


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2024-05-06", "2024-05-06"),
        ("2024/05/06", "2024-05-06"),
        ("20240506", "2024-05-06"),
        ("2024-05", "2024-05"),
        ("2024-05-06T07:08", "2024-05-06T07:08:00"),
        ("Mon, 06 May 2024 07:08:09 GMT", "2024-05-06T07:08:09+00:00"),
        ("6 May 2024", None),
        ("yesterday", None),
        ("2024-13-45", None),
    ],
)
def test_dates_are_iso_8601(written, read):
    assert stated(f'<meta name="dc.date" content="{written}">').get("created") == read
    assert page(f'<p>x<time pubdate datetime="{written}">then</time>').metadata.get("created") == read


def test_nonsense_is_no_metadata():
    assert (
        stated(
            '<meta name=author content="https://a.eu"><meta name=keywords content=" , "><meta name=date content="">'
            '<script type="application/ld+json">{"author": </script><script type="application/ld+json">[1]</script>'
            f'<script type="application/ld+json">{"[" * 100_000}</script>',
            '<html lang="not a language">',
        )
        == {}
    )
