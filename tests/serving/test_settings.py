import importlib.util

from bintally.serving.settings import ServeConfig
from tests.conftest import ROOT


def table() -> str:
    """What the tool prints."""
    spec = importlib.util.spec_from_file_location("serve_settings", ROOT / "tools" / "serve_settings.py")
    assert spec and spec.loader
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return str(tool.table())


def test_every_setting_stands_in_the_documented_table() -> None:
    page = (ROOT / "docs" / "serving.md").read_text()
    assert table() in page, "run `python tools/serve_settings.py` and put what it prints into docs/serving.md"


def test_every_setting_says_what_it_means() -> None:
    for name, field in ServeConfig.model_fields.items():
        assert field.description and field.description.endswith("."), name
        assert "|" not in field.description, name
