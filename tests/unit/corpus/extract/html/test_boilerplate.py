"""What surrounds the content of a page goes; what may be content stays."""

import pytest

from tests.support.corpora.web import page

ARTICLE = "<h1>Pumps</h1><p>The pump moves water through the valve, and the valve is closed by hand.</p>"
WORDS = "# Pumps\n\nThe pump moves water through the valve, and the valve is closed by hand.\n"
CONSENT = "<p>We use cookies to measure our reach.</p><button>Accept all</button><button>Decline</button>"


@pytest.mark.parametrize(
    "part",
    [
        f"<div id=onetrust-banner-sdk>{CONSENT}</div>",
        f"<div class=modal role=dialog aria-modal=true>{CONSENT}</div>",
        f"<dialog open>{CONSENT}</dialog>",
        f"<div class=x9z>{CONSENT}</div>",
        f"<div class='gdpr-bar'><p>{'We value your trackers. ' * 60}</p><a class=btn href='#'>OK</a></div>",
        "<div class=newsletter-box><h2>Stay informed</h2><form><input type=email><button>Go</button></form></div>",
        "<div class=social-share><span>Share:</span><a href=a>Mastodon</a><a href=b>Mail</a></div>",
        "<section class=related-posts><h2>More</h2><a href=a>How valves are made</a><a href=b>Water</a></section>",
        "<ol class=breadcrumb><li><a href=/>Home</a><li><a href=/p>Pumps and valves</a></ol>",
        "<div role=navigation><a href=a>Products</a></div>",
        "<aside><a href=a>One page</a> <a href=b>Another page</a></aside>",
        "<header><a href=/>Acme</a><button aria-expanded=false class=nav-toggle>Menu</button></header>",
        "<a class=skip-link href='#main'>Skip to content</a>",
        "<ul class=pagination><li><a href=1>1</a><li><a href=2>Next</a></ul>",
        "<noscript>Please enable JavaScript.</noscript>",
        "<footer><h2>Imprint</h2><p>Acme</p></footer>",
        "<form role=search><label>Search</label><input value=x></form>",
    ],
)
def test_what_surrounds_the_content_goes(part):
    assert page(f"<body>{part}{ARTICLE}").text == WORDS
    assert page(f"<body><div>{part}</div><main>{ARTICLE}</main>{part}").text == WORDS


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (
            "<section id=cookies><h2>Cookies</h2><p>We use cookies.</p><button>Change</button></section>",
            "We use cookies.",
        ),
        ("<p>Bake the cookies for ten minutes.</p>", "Bake the cookies"),
        ("<table class=market-share><tr><th>Maker<th>Share<tr><td>Acme<td>40 %</table>", "| Acme | 40 % |"),
        ("<aside class=note><p>Wear gloves.</p></aside>", "Wear gloves."),
        ("<div class=related><p>The same holds for <a href=a>fans</a>, with other limits.</p></div>", "other limits"),
        ("<div class=subscription-plans><p>The plan costs 5 euros.</p></div>", "5 euros"),
        ("<article><p>x</p><footer><p>Measured at 20 °C.</p></footer></article>", "Measured at 20 °C."),
        ("<dialog><p>The pump has two inlets.</p><button>Close</button></dialog>", "two inlets"),
        ("<div class=menu-of-the-day><p>Soup and bread at noon.</p></div>", "Soup and bread"),
        ("<header><h2>Contents of the box</h2><a href=a>A</a></header>", "Contents of the box"),
        ("<a class=related-link href=a>See the fans</a>", "See the fans"),
    ],
)
def test_what_may_be_content_stays(part, words):
    assert words in page(f"<body><main>{ARTICLE}{part}</main>").text


@pytest.mark.parametrize(
    "body",
    [
        "<div><h2>Cookies</h2><p>Bake the cookies for ten minutes.</p><button>Print</button></div>",
        "<div class=consent-form><p>I consent to the operation.</p><input type=checkbox></div>",
    ],
)
def test_page_that_speaks_of_cookies_or_consent_stays(body):
    assert len(page(f"<title>T</title><body>{body}").text) > 20


def test_unclosed_navigation_takes_no_content():
    assert "closed by hand" in page(f"<nav><ul><li><a href=a>Home</a></ul>{ARTICLE}").text
    assert "closed by hand" in page(f"<div id=sidebar><a href=a>Home</a><main>{ARTICLE}</main>").text
