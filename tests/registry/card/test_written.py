"""What a card says, word for word, and that other hands' tools can read it."""

import html.parser
import os
import re
import tomllib
from pathlib import Path

import msgspec
import pytest
import yaml
from huggingface_hub import ModelCard as HubCard
from huggingface_hub import ModelCardData

from bintally.errors import UsageError
from bintally.registry.card.gather import of_version
from bintally.registry.card.header import header, metadata
from bintally.registry.card.judged import read_evaluation
from bintally.registry.card.recipe_text import recipe_text
from bintally.registry.card.settings import CardSettings
from bintally.registry.card.told import ModelCard
from bintally.registry.card.written import markdown, page, written
from tests.registry.card.cards import LINEAGE, report_of, version_of

GOLDEN = Path(__file__).parent / "golden.md"


@pytest.fixture
def card(tmp_path: Path) -> ModelCard:
    version = version_of(tmp_path / "bundle")
    (tmp_path / "metrics.json").write_bytes(report_of(version.card.model_sha256).to_json())
    settings = CardSettings(contact="vision@example.com", power_w=150, carbon_g_per_kwh=300)
    evaluation = read_evaluation(tmp_path, version.card)
    return of_version(version, tmp_path / "bundle", evaluation=evaluation, settings=settings)


@pytest.fixture
def bare(tmp_path: Path) -> ModelCard:
    """Of a version that nobody knows anything about."""
    version = version_of(tmp_path / "bundle", lineage={})
    return of_version(
        msgspec.structs.replace(version, card=msgspec.structs.replace(version.card, metrics={})), tmp_path
    )


def test_the_card_is_word_for_word_the_one_that_was_read_by_people(card: ModelCard) -> None:
    if os.environ.get("BINTALLY_GOLDEN"):
        GOLDEN.write_text(markdown(card))
    assert markdown(card) == GOLDEN.read_text(), "if that is meant: BINTALLY_GOLDEN=1 writes it anew; read it"


def test_all_sections_of_the_paper_are_there(card: ModelCard, bare: ModelCard) -> None:
    wanted = (
        "Model details", "Intended use", "Factors", "Metrics", "Data", "Results", "Ethical considerations",
        "Caveats and recommendations",
    )  # fmt: skip
    for each in (card, bare):
        sections = [line[3:] for line in markdown(each).splitlines() if line.startswith("## ")]
        assert [name for name in wanted if name not in sections] == []


def test_slices_stand_the_worst_first(card: ModelCard) -> None:
    text = markdown(card)
    assert text.index("brightness: above 90 | 40 | 60.0%") < text.index("brightness: up to 90 | 40 | 85.0%")
    assert "Too few photos to say: encoding: a | b (4)." in text


def test_what_is_not_known_is_said_to_be_not_known(bare: ModelCard) -> None:
    text = markdown(bare)
    assert "Nothing was measured." in text
    assert "Not known: nobody told how long the training took." in text
    for written_so in (text, page(bare)):
        assert re.findall(r"\bNone\b(?! of these)", written_so) == []


def test_no_password_of_a_source_is_told(card: ModelCard) -> None:
    for suffix in (".md", ".html", ".json"):
        text = written(card, suffix).decode()
        assert "photos.example" in text
        assert "secret" not in text
        assert "hush" not in text


def test_the_header_is_what_the_hub_reads(card: ModelCard) -> None:
    read = HubCard(markdown(card)).data
    assert isinstance(read, ModelCardData)
    assert (read.license, read.library_name, read.pipeline_tag) == (
        "cc-by-nc-sa-3.0",
        "bintally",
        "image-classification",
    )
    assert read.eval_results is not None
    assert {(each.metric_type, each.metric_value) for each in read.eval_results if each.dataset_split == "test"} == {
        ("accuracy", 0.8), ("rmse", 0.5), ("aurc", 0.1), ("set_coverage", 0.91),
    }  # fmt: skip


def test_the_header_is_yaml_of_what_was_meant(card: ModelCard, bare: ModelCard) -> None:
    for each in (card, bare):
        assert yaml.safe_load(header(each)) == metadata(each)


@pytest.mark.parametrize(
    ("licence", "told"),
    [
        ("CC BY-NC-SA 3.0 US (weights trained on ...)", {"license": "cc-by-nc-sa-3.0"}),
        ("CC-BY-4.0", {"license": "cc-by-4.0"}),
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("CC0-1.0: free for every use", {"license": "cc0-1.0"}),
        ("not stated", {"license": "other", "license_name": "not stated"}),
    ],
)
def test_a_licence_has_the_hubs_name_where_it_has_one(card: ModelCard, licence: str, told: dict[str, str]) -> None:
    found = metadata(msgspec.structs.replace(card, licence=licence))
    assert {name: found[name] for name in ("license", "license_name") if name in found} == told


def test_the_recipe_is_toml_that_says_the_same(card: ModelCard) -> None:
    told = tomllib.loads(recipe_text(card.recipe))
    assert told.pop("fetch") == {"rate": 1e-05}  # what is not set is not there
    assert told == {name: value for name, value in card.recipe.items() if name != "fetch"}


def test_odd_texts_and_nests_are_toml_too() -> None:
    recipe = {"a": 'quote " back \\ é 🎈 \x7f\n', "b c": {"d.e": [1, True, "x", {"f": 1.5, "g": None}], "empty": {}}}
    assert tomllib.loads(recipe_text(recipe)) == {
        "a": recipe["a"],
        "b c": {"d.e": [1, True, "x", {"f": 1.5}], "empty": {}},
    }


def test_the_page_is_whole_html_without_anything_from_elsewhere(card: ModelCard) -> None:
    text = page(card)
    reader = _Tags()
    reader.feed(text)
    assert reader.open == []
    assert "src=" not in text.replace("src=&", "")
    assert "<code>bintally evaluate</code>" in text
    assert "Right less often" in text


class _Tags(html.parser.HTMLParser):
    """Which tags were left open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta", "link", "br", "img", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_words_of_others_are_text_on_the_page(tmp_path: Path) -> None:
    lineage = LINEAGE | {"findings": [{"rule": "<script>", "message": "`<b>`"}]}
    text = page(of_version(version_of(tmp_path / "bundle", lineage=lineage), tmp_path))
    assert "<script>" not in text
    assert "<code>&lt;b&gt;</code>" in text


def test_other_kinds_of_files_are_refused(card: ModelCard) -> None:
    for suffix in (".pdf", ""):
        with pytest.raises(UsageError, match="can't be written as"):
            written(card, suffix)


def test_the_json_is_the_card(card: ModelCard) -> None:
    assert msgspec.json.decode(written(card, ".json"), type=ModelCard) == card
