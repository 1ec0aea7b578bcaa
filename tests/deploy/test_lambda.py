"""The Lambda template is one, and says what the handler needs."""

import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

FOLDER = ROOT / "deploy" / "lambda"


def test_cloudformation_takes_the_template() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), FOLDER / "template.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_each_name_that_the_template_refers_to_is_in_it() -> None:
    text = (FOLDER / "template.yaml").read_text()
    named = set(re.findall(r"!Ref (\w+)|!GetAtt (\w+)\.|\$\{(\w+)\}", text))
    defined = set(re.findall(r"^  (\w+):$", text, re.MULTILINE))
    assert {name for names in named for name in names if name} <= defined
    assert "S3ReadPolicy" in text
    assert "ApiKeyRequired: true" in text
    assert int(re.findall(r"MemorySize: (\d+)", text)[0]) >= 2048
    assert int(re.findall(r"Timeout: (\d+)", text)[0]) < 30  # API Gateway's limit


def test_the_image_has_the_handler_and_writes_to_tmp_only() -> None:
    text = (FOLDER / "Dockerfile").read_text()
    [entry] = re.findall(r'CMD \["([\w.]+)"\]', text)
    module, _, name = entry.rpartition(".")
    assert callable(getattr(__import__(module, fromlist=[name]), name))
    assert re.findall(r"=(/\S+)", text.partition("ENV")[2]) == ["/tmp/bintally", "/tmp/matplotlib"]
    for source in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE):
        assert all((ROOT / each).exists() for each in source.split())
