from pathlib import Path

import polars as pl
import pytest

from embedder_assets.corpus.extract import limits
from embedder_assets.corpus.queries import MAX_SYNTHETIC
from embedder_assets.environment import unknown_variables, variable_warnings
from embedder_assets.errors import SettingsError
from embedder_assets.settings import ENV_PREFIX, FIELDS, GROUP_OF, REMOVED, Settings, key_of, load_settings
from embedder_assets.tables.store import TableStore
from tests.support.factories import make_documents


@pytest.fixture
def load(tmp_path):
    """Resolves settings from the text of embedder.toml, environment variables and overrides."""

    def load(file: str | None = None, overrides=None, **environ: str) -> Settings:
        if file is not None:
            (tmp_path / "embedder.toml").write_text(file, "utf-8")
        return load_settings(overrides, environ=environ, directory=tmp_path)

    return load


def test_higher_layers_override_and_name_themselves(load):
    seen = [
        load(),
        load("enable_rerank = false"),
        load("enable_rerank = false", EMBEDDER_ENABLE_RERANK="true"),
        load("enable_rerank = false", {"enable_rerank": (False, "cli:--disable-rerank")}, EMBEDDER_ENABLE_RERANK="1"),
    ]
    assert [settings.describe("enable_rerank") for settings in seen] == [
        {"value": True, "provenance": "default"},
        {"value": False, "provenance": "file:embedder.toml"},
        {"value": True, "provenance": "env:EMBEDDER_ENABLE_RERANK"},
        {"value": False, "provenance": "cli:--disable-rerank"},
    ]


def test_a_layer_changes_only_what_it_names(load):
    settings = load("[metrics]\nport = 1234", EMBEDDER_CANDIDATE_DEPTH="7")
    assert (settings.metrics_port, settings.candidate_depth, settings.rerank_depth) == (1234, 7, 30)
    assert settings.provenance("rerank_depth") == "default"


def test_the_documented_defaults_hold(load):
    settings = load()
    assert (settings.enable_sparse, settings.enable_rerank, settings.metrics_enabled) == (True, True, True)
    assert (settings.gpu_soft_limit_gb, settings.metrics_port, settings.triton_url) == (12.0, 9464, ())


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_can_be_set_by_its_variable(load, name):
    values = {
        "tables_url": "s3://lake/rag",
        "exports_url": "s3://lake/exports",
        "corpus_url": "s3://lake/corpus",
        "triton_url": "gpu-host:8001",
        "triton_metrics_url": "http://gpu-host:8002/metrics",
        "triton_trace_url": "http://collector:4318/v1/traces",
        "metrics_push_url": "http://gateway:9091",
        "links": "trace=http://traces:16686/trace/{trace_id},dashboard=http://grafana:3000/d/rag",
        "device": "gpu",
        "gpu_lease_policy": "exclusive",
        "fallback": "rerank",
        "fusion": "rrf",
    }
    settings = load(**{ENV_PREFIX + name.upper(): values.get(name, "1")})
    assert settings.provenance(name) == f"env:{ENV_PREFIX}{name.upper()}"


def test_an_empty_variable_counts_as_unset(load):
    settings = load("triton_url = 'host:8001'", EMBEDDER_TRITON_URL="", EMBEDDER_ENABLE_SPARSE="")
    assert (settings.triton_url, settings.provenance("triton_url")) == (("host:8001",), "file:embedder.toml")
    assert settings.provenance("enable_sparse") == "default"


def test_several_servers_are_a_list_with_commas(load):
    settings = load(
        EMBEDDER_TRITON_URL="a:8001, b:8001", EMBEDDER_TRITON_METRICS_URL="http://a:8002/metrics,http://b:1/m"
    )
    assert settings.triton_url == ("a:8001", "b:8001")
    assert [url.reveal() for url in settings.triton_metrics_url] == ["http://a:8002/metrics", "http://b:1/m"]
    assert load("[triton]\nurl = ['a:8001', 'b:8001']").triton_url == settings.triton_url


@pytest.mark.parametrize("value", ["a:8001,", "a:8001,b", "a:1,a:1", "http://a:8001"])
def test_invalid_address_names_its_setting(load, value):
    with pytest.raises(SettingsError, match=r"'triton_url' \(env:EMBEDDER_TRITON_URL\)"):
        load(EMBEDDER_TRITON_URL=value)


def test_paths_become_absolute_whichever_layer_they_come_from(load, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    settings = load("[storage]\ncorpus_dir = 'docs'", EMBEDDER_MODEL_REPOSITORY="~/models")
    assert settings.home == tmp_path / ".embedder"
    assert settings.corpus_dir == tmp_path / "docs"
    assert str(settings.model_repository) == "/home/someone/models"


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("EMBEDDER_TABLES_URL", "/data/tables", "[A-Za-z0-9._-]"),
        ("EMBEDDER_ENABLE_SPARSE", "perhaps", "boolean"),
        ("EMBEDDER_METRICS_PORT", "70000", "less than or equal to 65535"),
        ("EMBEDDER_METRICS_PORT", "nine", "integer"),
        ("EMBEDDER_TRITON_URL", "http://host:8001", "pattern"),
        ("EMBEDDER_GPU_SOFT_LIMIT_GB", "0", "greater than 0"),
        ("EMBEDDER_GPU_SOFT_LIMIT_GB", "nan", "greater than 0"),
        ("EMBEDDER_QUALITY_TOLERANCE", "-1", "greater than or equal to 0"),
        ("EMBEDDER_QUALITY_STRICT", "often", "boolean"),
        ("EMBEDDER_FUSION", "linear", "'convex' or 'rrf'"),
        ("EMBEDDER_FALLBACK", "dense", "'sparse' or 'rerank'"),
        ("EMBEDDER_FALLBACK", "false", "or `none`"),
        ("EMBEDDER_FALLBACK", "sparse,none", "'sparse' or 'rerank'"),
        ("EMBEDDER_FALLBACK", "sparse,", "'sparse' or 'rerank'"),
        ("EMBEDDER_FALLBACK", "sparse,sparse", "different names"),
    ],
)
def test_wrong_value_is_a_complete_message(load, variable, value, expected):
    with pytest.raises(SettingsError) as caught:
        load(**{variable: value})
    assert f"env:{variable}" in caught.value.thing
    assert expected in caught.value.expected
    assert caught.value.got == repr(value)
    assert "docs/settings.md" in caught.value.remedy


def test_wrong_value_names_its_layer(load):
    with pytest.raises(SettingsError, match=r"'rerank_depth' \(cli:--depth\)"):
        load(overrides={"rerank_depth": (0, "cli:--depth")})
    with pytest.raises(SettingsError, match=r"'rerank_depth' \(file:embedder.toml\)"):
        load("[retrieval]\nrerank_depth = 0")


def test_unknown_file_key_suggests_the_nearest(load, tmp_path):
    with pytest.raises(
        SettingsError, match=r"'enable_reranking'.*Did you mean 'enable_rerank' in \[stages\]\?"
    ) as caught:
        load("enable_reranking = false")
    assert str(tmp_path / "embedder.toml") in caught.value.thing


def test_an_unknown_override_is_refused(load):
    with pytest.raises(SettingsError, match=r"'nonsense' \(cli\)"):
        load(overrides={"nonsense": (1, "cli")})


@pytest.mark.parametrize("content", [b"home = ", b"home = '\xff'"])
def test_invalid_toml_is_refused_by_name(tmp_path, content):
    (tmp_path / "embedder.toml").write_bytes(content)
    with pytest.raises(SettingsError, match="readable TOML") as caught:
        load_settings(environ={}, directory=tmp_path)
    assert caught.value.thing == str(tmp_path / "embedder.toml")


def test_an_unknown_variable_suggests_the_nearest():
    environ = {"EMBEDDER_ENABLE_RERANKING": "0", "EMBEDDER_XYZZY": "", "EMBEDDER_HOME": "/x", "HOME": "/y"}
    assert unknown_variables(environ) == {
        "EMBEDDER_ENABLE_RERANKING": "did you mean EMBEDDER_ENABLE_RERANK?",
        "EMBEDDER_XYZZY": "docs/settings.md lists every setting",
    }


@pytest.mark.parametrize(
    ("value", "models"), [("one", ("one",)), ("one,two", ("one", "two")), (" two , one ", ("two", "one"))]
)
def test_dense_models_are_comma_separated_in_environment(load, value, models):
    assert load(EMBEDDER_DENSE_MODELS=value).dense_models == models


def test_dense_models_are_a_list_in_file(load):
    assert load().dense_models == ("dense_minilm",)
    assert load("[models]\ndense_models = ['one', 'two']").dense_models == ("one", "two")


@pytest.mark.parametrize("value", ["one,one", "one,", ",", "one,,two"])
def test_empty_or_repeated_dense_model_is_refused(load, value):
    with pytest.raises(SettingsError, match=r"EMBEDDER_DENSE_MODELS.*expected different names, none of them empty"):
        load(EMBEDDER_DENSE_MODELS=value)


def test_no_dense_model_at_all_is_refused(load):
    with pytest.raises(SettingsError, match=r"'dense_models' \(file:embedder.toml\).*at least 1"):
        load("[models]\ndense_models = []")


def test_old_dense_model_name_suggests_the_new(load):
    with pytest.raises(SettingsError, match=r"EMBEDDER_DENSE_MODEL: expected EMBEDDER_DENSE_MODELS.*got 'bge'"):
        load(EMBEDDER_DENSE_MODEL="bge")
    with pytest.raises(SettingsError, match=r"Set 'dense_models' in \[models\] to this value\."):
        load("dense_model = 'bge'")
    assert load("", EMBEDDER_DENSE_MODEL="").dense_models == ("dense_minilm",)
    assert unknown_variables({"EMBEDDER_DENSE_MODEL": "bge"}) == {
        "EMBEDDER_DENSE_MODEL": "EMBEDDER_DENSE_MODELS stands in its place"
    }


@pytest.mark.parametrize(
    ("value", "stages"), [("sparse", {"sparse"}), (" rerank , sparse ", {"sparse", "rerank"}), (" none ", set())]
)
def test_fallback_stages_are_comma_separated_in_environment(load, value, stages):
    assert set(load(EMBEDDER_FALLBACK=value).fallback) == stages


@pytest.mark.parametrize(
    ("value", "stages"), [("['rerank']", ("rerank",)), ("[]", ()), ("'none'", ()), ("'sparse'", ("sparse",))]
)
def test_fallback_stages_are_a_list_in_file(load, value, stages):
    assert load().fallback == ("sparse", "rerank")
    assert load(f"[stages]\nfallback = {value}").fallback == stages


@pytest.mark.parametrize(("old", "rest"), [("sparse_fallback", "rerank"), ("rerank_fallback", "sparse")])
def test_old_fallback_switch_names_the_list(load, old, rest):
    variable = ENV_PREFIX + old.upper()
    to = rf"to the stages with a fallback \(`{rest}` if this is false; `none` for neither\)"
    with pytest.raises(SettingsError, match=rf"{variable}: expected EMBEDDER_FALLBACK.*Set EMBEDDER_FALLBACK {to}"):
        load(**{variable: "false"})
    for file in (f"[stages]\n{old} = false", f"{old} = false"):
        with pytest.raises(SettingsError, match=rf"Set 'fallback' in \[stages\] {to}\."):
            load(file)


def test_there_are_few_settings_each_in_one_group():
    assert len(FIELDS) <= 48
    assert sorted(FIELDS) == sorted(Settings.model_fields)
    assert len({(GROUP_OF[name], key_of(name)) for name in FIELDS}) == len(FIELDS)


@pytest.mark.parametrize("name", FIELDS)
def test_every_key_of_a_group_is_known(load, name):
    with pytest.raises(SettingsError, match=rf"'{name}' \(file:embedder.toml\)"):
        load(f"[{GROUP_OF[name]}]\n{key_of(name)} = [[1]]")


@pytest.mark.parametrize("name", FIELDS)
def test_key_outside_its_group_names_the_group(load, name):
    basic = """home corpus_dir triton_url enable_sparse enable_rerank gpu_soft_limit_gb metrics_enabled metrics_port"""
    expected = "file:embedder.toml" if name in basic.split() else rf"below the line `\[{GROUP_OF[name]}\]`"
    with pytest.raises(SettingsError, match=expected):
        load(f"{name} = [[1]]")


def test_a_key_of_another_group_names_its_own(load):
    with pytest.raises(
        SettingsError, match=r"'rerank_dept' of group \[triton\].*Did you mean 'rerank_depth' in \[retrieval\]"
    ):
        load("[triton]\nrerank_dept = 3")
    with pytest.raises(
        SettingsError, match=r"'metrics_port' of group \[metrics\].*the key 'port' of group \[metrics\]"
    ):
        load("[metrics]\nmetrics_port = 3")


def test_a_setting_twice_in_the_file_is_refused(load):
    with pytest.raises(SettingsError, match="expected each setting once"):
        load("metrics_port = 1\n[metrics]\nport = 2")


@pytest.mark.parametrize("name", REMOVED)
def test_removed_setting_names_its_replacement(load, name):
    assert name not in FIELDS
    (sentence,) = variable_warnings({ENV_PREFIX + name.upper(): "S3cr3t"})
    assert f"it was removed: {REMOVED[name]}" in sentence
    with pytest.raises(SettingsError, match="one that was removed"):
        load(f"{name} = 1")
    with pytest.raises(SettingsError, match="one that was removed"):
        load(f"[limits]\n{name} = 1")


def test_removed_limit_names_its_constant():
    assert (REMOVED["max_pdf_pages"], REMOVED["max_text_chars"]) == (
        f"the limit is {limits.MAX_PDF_PAGES:,} pages per PDF",
        f"the limit is {limits.MAX_TEXT_CHARS:,} characters per document",
    )
    assert f"{limits.MAX_UNPACKED_BYTES / limits.MB:g} MB" in REMOVED["max_unpacked_mb"]
    assert f"{limits.MAX_UNPACKED_RATIO:g} times" in REMOVED["max_unpacked_ratio"]
    assert f"{limits.MAX_NESTING} levels" in REMOVED["max_nesting"]
    assert f"{limits.MAX_MARKDOWN_NESTING} block quotes" in REMOVED["max_markdown_nesting"]
    assert f"{limits.MAX_MARKDOWN_STEPS:,} steps" in REMOVED["max_markdown_steps"]
    assert f"{limits.MEMORY_BYTES / limits.MB:g} MB" in REMOVED["document_memory_mb"]
    assert f"{MAX_SYNTHETIC} queries" in REMOVED["max_synthetic_queries"]


def test_links_are_pairs_of_name_and_address(load):
    settings = load(EMBEDDER_LINKS="trace=http://t/{trace_id}?left=a,b, dashboard=https://me:pw@g/d?x=y")
    assert {name: url.reveal() for name, url in settings.links.items()} == {
        "trace": "http://t/{trace_id}?left=a,b",
        "dashboard": "https://me:pw@g/d?x=y",
    }
    assert load("[ui.links]\ntrace = 'http://t'").links["trace"].reveal() == "http://t"


@pytest.mark.parametrize("value", ["http://t", "=http://t", "a=http://t,a=http://u", "a=ftp://me:S3cr3t@t"])
def test_invalid_link_is_refused_unseen(load, value):
    with pytest.raises(SettingsError, match=r"'links' \(env:EMBEDDER_LINKS\)") as caught:
        load(EMBEDDER_LINKS=value)
    assert "S3cr3t" not in str(caught.value)


def test_every_setting_says_what_it_means():
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize(
    "folder", ["my[home]", "my%20home", "tenant=acme", "=", "who?", "a^b", "a|b", "back\\slash", "a\nb", "a\udce9b"]
)
def test_unusable_home_path_is_refused(folder: str) -> None:
    with pytest.raises(SettingsError, match=r"without '\['.*EMBEDDER|EMBEDDER_HOME.*without '\['"):
        load_settings(environ={"EMBEDDER_HOME": f"/somewhere/{folder}/home"})


@pytest.mark.parametrize(
    "folder", ["a b", "x*y", "{a,b}", "a#b", "a:b", "a'b", 'a"b', "é", "$HOME", "a&b+c", "(1)", "trailing ", "\x85\xa0"]
)
def test_a_home_with_other_characters_holds_tables(folder: str, tmp_path: Path) -> None:
    settings = load_settings(environ={"EMBEDDER_HOME": str(tmp_path / folder / "home")})
    store = TableStore.of(settings)
    for number in range(2):
        store.delete_and_insert("documents", "kb", make_documents(**{f"d{number}": "text"}), pl.DataFrame())
    assert store.count("documents", "kb") == 2


def test_an_unusable_default_home_is_named_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tenant=acme").mkdir()
    monkeypatch.chdir(tmp_path / "tenant=acme")
    with pytest.raises(SettingsError, match=r"setting 'home' \(default\).*/tenant=acme/\.embedder'"):
        load_settings(environ={})
