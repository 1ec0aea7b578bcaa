from pathlib import Path

import pytest

from bintally.errors import ConfigError, UsageError
from bintally.serving.settings import ServeConfig
from tests.bundles import make_bundle


def config(**variables: str) -> ServeConfig:
    return ServeConfig.from_environment({}, variables)


def test_arguments_win_over_the_environment() -> None:
    told = ServeConfig.from_environment({"port": 1}, {"BINTALLY_SERVE_PORT": "2", "BINTALLY_SERVE_WORKERS": "3"})
    assert (told.port, told.workers) == (1, 3)


@pytest.mark.parametrize(("text", "value"), [("1", True), ("yes", True), ("TRUE", True), ("0", False), ("off", False)])
def test_a_switch_is_said_in_the_usual_words(text: str, value: bool) -> None:
    assert config(BINTALLY_SERVE_ALLOW_PRIVATE_URL=text).allow_private_url is value


def test_lists_have_commas_and_paths_may_begin_at_home() -> None:
    told = config(BINTALLY_SERVE_ALLOW_URL="a.example, b.example,", BINTALLY_SERVE_STATE="~/state")
    assert told.allow_url == ("a.example", "b.example")
    assert told.state == Path.home() / "state"


def test_an_empty_variable_is_none() -> None:
    assert config(BINTALLY_SERVE_PORT="").port == 8080


def test_a_wrong_variable_is_named() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'BINTALLY_SERVE_PORT'"):
        config(BINTALLY_SERVE_PROT="1")
    with pytest.raises(ConfigError, match=r"\$BINTALLY_SERVE_PORT: .*got 'many'"):
        config(BINTALLY_SERVE_PORT="many")
    with pytest.raises(ConfigError, match=r"\$BINTALLY_SERVE_SAGEMAKER"):
        config(BINTALLY_SERVE_SAGEMAKER="maybe")


def test_what_kubernetes_says_of_a_service_called_bintally_serve_is_no_setting() -> None:
    """A pod beside a Service "bintally-serve" could not start: its port was said to be tcp://10.0.0.1:80."""
    told = config(
        BINTALLY_SERVE_PORT="tcp://10.0.0.1:80",
        BINTALLY_SERVE_SERVICE_HOST="10.0.0.1",
        BINTALLY_SERVE_SERVICE_PORT_HTTP="80",
        BINTALLY_SERVE_PORT_80_TCP_ADDR="10.0.0.1",
    )
    assert told.port == 8080


def test_a_broker_may_be_written_as_its_own_tools_do() -> None:
    assert config(BINTALLY_SERVE_MQTT="tcp://broker:1883").mqtt == "tcp://broker:1883"


def sagemaker(base: Path, **variables: str) -> ServeConfig:
    return ServeConfig.from_environment({"sagemaker": True}, {"SAGEMAKER_BASE_DIR": str(base), **variables})


def test_a_sagemaker_container_listens_to_all_and_asks_for_no_keys(tmp_path: Path) -> None:
    told = sagemaker(tmp_path)
    assert (told.host, told.port, told.require_keys, told.log_format) == ("0.0.0.0", 8080, "never", "json")
    assert told.bundle is None
    assert told.shutdown_s < 25


def test_sagemaker_says_the_port_and_whether_there_are_several_models(tmp_path: Path) -> None:
    told = sagemaker(tmp_path, SAGEMAKER_BIND_TO_PORT="9000", SAGEMAKER_MULTI_MODEL="true")
    assert (told.port, told.models, told.bundle) == (9000, tmp_path / "models", None)


def test_what_is_said_wins_over_what_sagemaker_would_do(tmp_path: Path) -> None:
    assert sagemaker(tmp_path, BINTALLY_SERVE_REQUIRE_KEYS="always").require_keys == "always"
    told = ServeConfig.from_environment({"sagemaker": True, "host": "127.0.0.1"}, {"SAGEMAKER_BASE_DIR": str(tmp_path)})
    assert told.host == "127.0.0.1"


@pytest.mark.parametrize("inside", [".", "champion"], ids=["files", "a folder"])
def test_model_tar_gz_may_hold_a_bundles_files_or_its_folder(tmp_path: Path, inside: str) -> None:
    make_bundle(tmp_path / "model" / inside)
    assert sagemaker(tmp_path).bundle == tmp_path / "model" / inside


def test_a_model_tar_gz_that_is_no_bundle_is_told(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.bin").write_bytes(b"x")
    with pytest.raises(UsageError, match="holds no bundle"):
        sagemaker(tmp_path)
    for name in ("a", "b"):
        make_bundle(tmp_path / "model" / name)
    with pytest.raises(UsageError, match="holds 2 bundles"):
        sagemaker(tmp_path)
