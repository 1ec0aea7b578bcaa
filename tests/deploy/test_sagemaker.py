"""deploy/sagemaker/deploy.py against moto, which imitates SageMaker's calls and keeps what it was told."""

import importlib.util
import os
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import boto3
import pytest
from moto import mock_aws

from tests.conftest import ROOT

ASKED = ["--name", "bins", "--image", "1.dkr.ecr.eu-west-1.amazonaws.com/bintally:1", "--region", "eu-west-1"]
ROLE = ["--role", "arn:aws:iam::123456789012:role/bintally"]


@pytest.fixture
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("deploy_sagemaker", ROOT / "deploy" / "sagemaker" / "deploy.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def sagemaker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setitem(os.environ, name, "testing")
    with mock_aws():
        yield boto3.client("sagemaker", region_name="eu-west-1")


def test_an_endpoint_is_made_of_the_image_the_bundle_and_its_capture(
    tool: ModuleType, sagemaker: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    # moto knows few types of machines.
    data = [
        "--instance",
        "ml.c5.large",
        "--model-data",
        "s3://bucket/model.tar.gz",
        "--capture-to",
        "s3://bucket/capture",
    ]
    tool.main([*ASKED, *ROLE, *data, "--set", "BINTALLY_SERVE_MAX_BATCH=8"])
    endpoint = sagemaker.describe_endpoint(EndpointName="bins")
    config = sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    assert config["DataCaptureConfig"]["EnableCapture"] is True
    assert config["DataCaptureConfig"]["DestinationS3Uri"] == "s3://bucket/capture"
    [variant] = config["ProductionVariants"]
    model = sagemaker.describe_model(ModelName=variant["ModelName"])
    assert model["PrimaryContainer"]["ModelDataUrl"] == "s3://bucket/model.tar.gz"
    assert model["PrimaryContainer"]["Environment"] == {"BINTALLY_SERVE_MAX_BATCH": "8"}
    assert capsys.readouterr().out.startswith("bins: ")


def test_deploying_again_moves_the_endpoint_to_a_new_model(tool: ModuleType, sagemaker: Any) -> None:
    given = tool.parser().parse_args([*ASKED, *ROLE, "--instance", "ml.c5.large"])
    moved: list[dict[str, str]] = []
    tool.deploy(sagemaker, given, stamp="1")
    # moto has no update_endpoint; what it is called with is all that can be tried.
    sagemaker.update_endpoint = lambda **told: moved.append(told)
    tool.deploy(sagemaker, given, stamp="2")
    assert moved == [{"EndpointName": "bins", "EndpointConfigName": "bins-2"}]
    assert sagemaker.describe_endpoint_config(EndpointConfigName="bins-2")["ProductionVariants"][0]["ModelName"]
    assert len(sagemaker.list_endpoints()["Endpoints"]) == 1
