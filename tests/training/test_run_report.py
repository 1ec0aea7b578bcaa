"""A run's page: of a finished run, one that was killed, one under way, an old one without a log, and a long one."""

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bintally.artifacts import write_json
from bintally.errors import CheckpointError, ConfigError
from bintally.records import to_plain
from bintally.training.diagnose.finding import Finding
from bintally.training.finished import RUN
from bintally.training.run import train
from bintally.training.run_facts import read_facts
from bintally.training.run_log import (
    FINDINGS,
    LOG,
    STEPS,
    SYSTEM,
    VALIDATIONS,
    StepRow,
    Stream,
    SystemRow,
    ValidationRow,
)
from bintally.training.run_report import DATA, PAGE, report, said_of
from tests.conftest import run_cli
from tests.training.conftest import tiny_recipe


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run as `train` leaves it."""
    out = tmp_path_factory.mktemp("runs") / "run"
    train(recipe=tiny_recipe(), data=data, out=out)
    return out


def made_run(folder: Path, steps: int = 60, *, epochs: int = 3, findings: tuple[Finding, ...] = ()) -> Path:
    """The log of a training that has not ended, with `steps` steps of known length."""
    log = folder / LOG
    streams: list[Stream[Any]] = [Stream(log / name) for name in (STEPS, VALIDATIONS, SYSTEM, FINDINGS)]
    of_steps, of_validations, of_system, of_findings = streams
    per_epoch, at = steps // epochs, 1.7e9
    for step in range(steps):
        last = (step + 1) % per_epoch == 0
        seconds = {"data": 0.01, "forward": 0.03, "backward": 0.06, **({"validation": 0.5} if last else {})}
        at += sum(seconds.values())
        epoch = min(step // per_epoch + 1, epochs)
        loss = 2.0 - step / steps + (step == steps // 2)
        of_steps.write(StepRow(step=step, epoch=epoch, at=at, loss=loss, rate=1e-3, photos=8, seconds=seconds))
        if last:
            figures = {"log_loss": 2.0 - 0.1 * epoch, "accuracy": 0.2 + 0.05 * epoch, "rmse": 1.0}
            of_validations.write(ValidationRow(epoch=epoch, step=step, at=at, seconds=0.5, figures=figures))
        if step % 2 == 0:
            busy: dict[str, Any] = {
                "cpu_percent": 80.0,
                "process_percent": 70.0,
                "io_percent": None,
                "memory_percent": 40.0,
            }
            of_system.write(SystemRow(at=at, **busy, read_mb_s=0.0, written_mb_s=0.0, rss_mb=900.0))
    for finding in findings:
        of_findings.write(finding)
    for stream in streams:
        stream.close()
    return folder


class _Words(HTMLParser):
    """The text of a page, and whether each tag is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "link", "br", "img", "path", "use", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def text_of(page: Path) -> str:
    parser = _Words()
    parser.feed(page.read_text())
    assert parser.open == []
    return " ".join(" ".join(parser.words).split())


def test_a_finished_run_has_every_section(trained: Path, tmp_path: Path) -> None:
    said = report(run=trained, out=tmp_path / "page.html")
    assert (said.state, said.steps > 0) == ("finished", True)
    assert [row["epoch"] for row in said.epochs] == [1.0, 2.0]
    assert sum(part.share for part in said.phases) == pytest.approx(1.0)
    assert {setting.key for setting in said.settings if setting.changed} >= {"network.backbone", "loop.epochs"}
    text = text_of(tmp_path / "page.html")
    for section in ("Epochs", "Steps", "Learning rate", "Where the time goes", "The machine", "Recipe", "Environment"):
        assert section in text
    assert said.sentence in text
    assert json.loads((tmp_path / "page.json").read_text()) == json.loads(msgspec.json.encode(said))


def test_report_goes_into_the_run_and_changes_nothing_else(trained: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    report(run=run)
    after = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert {path.name for path in after.keys() - before.keys()} == {PAGE, DATA}
    assert all(after[path] == content for path, content in before.items())


def test_an_old_run_without_a_log_says_what_is_missing(trained: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    shutil.rmtree(run / LOG)
    said = report(run=run)
    assert said.state == "finished"
    assert len(said.epochs) == 2
    assert (said.phases, said.steps, said.usage) == ((), 0, {})
    assert "keeps no log/" in text_of(run / PAGE)
    assert "Where the time goes" not in text_of(run / PAGE)


def test_a_training_that_was_killed_is_told_from_its_log(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    with (run / LOG / STEPS).open("ab") as file:
        file.write(b'{"step": 60, "epoch": 3, "at"')  # torn
    written = (run / LOG / STEPS).stat().st_mtime
    assert read_facts(run, now=written + 10).state == "under way"
    facts = read_facts(run, now=written + 1000)
    said = said_of(facts)
    assert said.state == "stopped"
    assert said.sentence.startswith("First: run the same `bintally train` command again")
    assert [row["accuracy"] for row in said.epochs] == pytest.approx([0.25, 0.3, 0.35])
    assert said.epochs[0]["train_loss"] == pytest.approx(2.0 - 9.5 / 60)
    assert (said.steps, said.best_epoch) == (60, None)
    assert said.step_s == pytest.approx(0.1)
    assert {part.name: part.seconds for part in said.phases} == pytest.approx(
        {"backward": 3.6, "forward": 1.8, "validation": 1.5, "data": 0.6}
    )
    assert any("the training has not ended" in line for line in said.missing)


def test_findings_stand_on_the_page_by_weight_with_what_was_measured(tmp_path: Path) -> None:
    findings = (
        Finding("Overfit", 40, "loss", 0.31, 0.1, "Val is 31% above train.", "Stop earlier."),
        Finding("VanishingGradient", 20, "conv1.weight", 1e-9, 1e-7, "Gradients <vanish>.", "Raise the rate."),
        Finding("VanishingGradient", 21, "conv2.weight", 2e-9, 1e-7, "Gradients vanish.", "Raise the rate."),
    )
    run = made_run(tmp_path / "run", findings=findings)
    said = report(run=run)
    assert [(group.rule, group.times) for group in said.findings][:2] == [("VanishingGradient", 2), ("Overfit", 1)]
    assert said.sentence == "First: raise the rate."
    page, text = (run / PAGE).read_text(), text_of(run / PAGE)
    assert "&lt;vanish&gt;" in page
    assert text.index("Gradients <vanish>.") < text.index("Val is 31% above train.")
    for word in ("conv1.weight", "1e-09", "1e-07", "Try: Stop earlier."):
        assert word in text


def test_a_run_is_judged_by_the_set_of_defaults_that_is_asked_for(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    assert "developer guide" in (report(run=run, defaults="guide"), text_of(run / PAGE))[1]
    with pytest.raises(ConfigError, match="defaults"):
        report(run=run, defaults="guid")


def test_a_run_that_has_barely_begun_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "identity").write_text("mark")
    said = report(run=tmp_path / "run")
    assert (said.steps, said.epochs, said.findings) == (0, (), ())
    one = report(run=made_run(tmp_path / "one", 1, epochs=1))
    assert one.steps == 1


def test_what_is_no_run_is_an_error_that_says_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is no run") as caught:
        report(run=tmp_path)
    assert "bintally train" in caught.value.hint
    (tmp_path / RUN).write_text("{torn")
    with pytest.raises(CheckpointError, match="can't be read"):
        report(run=tmp_path)


def test_the_page_of_many_steps_stays_small(tmp_path: Path) -> None:
    """30,000 steps and 300 give pages of nearly one size: what is drawn does not grow with the run."""
    short, long = (made_run(tmp_path / str(steps), steps) for steps in (2_400, 24_000))
    sizes = [len((run / PAGE).read_bytes()) for run in (short, long) if report(run=run)]
    assert sizes[1] < 1.2 * sizes[0]
    assert sizes[1] < 700_000


def test_recorded_operators_are_shown(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    operator = {"name": "aten::conv2d", "shapes": "[1, 3]", "calls": 7, "self_cpu_ms": 9.0, "self_gpu_ms": 0.0}
    write_json(run / "profile" / "operators.json", [operator | {"share": 0.5, "cpu_ms": 9.0}])
    said = report(run=run)
    assert to_plain(said.operators)[0]["name"] == "aten::conv2d"
    assert "aten::conv2d" in text_of(run / PAGE)


def test_command_line_says_the_sentence_and_gives_one_json(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", findings=(Finding("Overfit", 3, "loss", 1.0, 0.1, "Too much.", "Stop earlier."),))
    done = run_cli("report", str(run), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sentence"] == "First: stop earlier."
    assert run_cli("report", str(tmp_path), "--json").returncode == 4
