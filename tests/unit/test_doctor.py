"""What ``embedder doctor`` says of servers at a URL, and of certificates."""

import socket

from embedder_assets.doctor import Finding, examine
from tests.integration.processes import free_ports
from tests.unit.factories import make_settings


def findings(settings, thing: str) -> list[tuple[str, str]]:
    found: list[Finding] = [finding for finding in examine(settings) if finding.thing == thing]
    return [(finding.level, finding.found) for finding in found]


def test_of_several_servers_one_that_answers_is_enough(tmp_path):
    (silent,) = free_ports(1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        there, gone = f"127.0.0.1:{server.getsockname()[1]}", f"127.0.0.1:{silent}"
        assert findings(make_settings(tmp_path, triton_url=f"{gone},{there}"), "Triton") == [
            ("note", f"{gone} does not answer"),
            ("ok", f"{there} answers"),
        ]
    assert findings(make_settings(tmp_path, triton_url=gone), "Triton") == [("problem", f"{gone} does not answer")]


def test_a_certificate_that_cannot_be_read_is_a_problem_with_its_setting(tmp_path):
    settings = make_settings(tmp_path, triton_tls_ca=tmp_path / "none", serve_tls_key=tmp_path / "none")
    ((client, about),) = findings(settings, "Triton client")
    assert (client, "triton_tls_ca" in about) == ("problem", True)
    ((server, about),) = findings(settings, "embedder serve")
    assert (server, "serve_tls_cert" in about) == ("problem", True)
    assert findings(make_settings(tmp_path), "Triton client") == []


def test_a_collection_of_a_bad_name_is_a_problem_next_to_the_good_ones(tmp_path):
    for name in ("good", "__HIVE_DEFAULT_PARTITION__"):
        (tmp_path / "corpus" / name).mkdir(parents=True)
    fine, problem = findings(make_settings(tmp_path, corpus_dir=tmp_path / "corpus"), "corpus")
    assert fine == ("ok", f"{tmp_path / 'corpus'}: good")
    assert problem[0] == "problem"
    assert problem[1].startswith("collection '__HIVE_DEFAULT_PARTITION__'")
