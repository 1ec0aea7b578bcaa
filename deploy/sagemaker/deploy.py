r"""Puts the image and a bundle on a SageMaker endpoint: model, endpoint configuration (with data capture), endpoint.

    python deploy/sagemaker/deploy.py --name bins --image ACCOUNT.dkr.ecr.REGION.amazonaws.com/bintally:1 \
        --role arn:aws:iam::ACCOUNT:role/bintally --model-data s3://BUCKET/model.tar.gz --capture-to s3://BUCKET/capture

Running it again with another image or bundle makes a new model and configuration, and moves the endpoint to them:
SageMaker starts the new containers, waits for their /ping, and only then ends the old ones. Needs boto3.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

VARIANT = "AllTraffic"


def main(arguments: Sequence[str] | None = None) -> None:
    """Deploys, and waits until the endpoint is in service."""
    import boto3

    given = parser().parse_args(arguments)
    sagemaker = boto3.client("sagemaker", region_name=given.region)
    deploy(sagemaker, given, stamp=f"{datetime.now(UTC):%Y%m%d-%H%M%S}")
    if given.wait:
        sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=given.name)
    sys.stdout.write(f"{given.name}: {sagemaker.describe_endpoint(EndpointName=given.name)['EndpointStatus']}\n")


def deploy(sagemaker: Any, given: argparse.Namespace, *, stamp: str) -> None:
    """Makes model and configuration under names of this moment, and the endpoint of them."""
    version = f"{given.name}-{stamp}"
    container = {"Image": given.image, "Environment": dict(pair.split("=", 1) for pair in given.set)}
    if given.model_data:
        container["ModelDataUrl"] = given.model_data
    sagemaker.create_model(ModelName=version, PrimaryContainer=container, ExecutionRoleArn=given.role)
    sagemaker.create_endpoint_config(
        EndpointConfigName=version,
        ProductionVariants=[
            {
                "VariantName": VARIANT,
                "ModelName": version,
                "InstanceType": given.instance,
                "InitialInstanceCount": given.instances,
                "InitialVariantWeight": 1.0,
                "ContainerStartupHealthCheckTimeoutInSeconds": 120,
            }
        ],
        **({"DataCaptureConfig": capture_config(given)} if given.capture_to else {}),
    )
    if exists(sagemaker, given.name):
        sagemaker.update_endpoint(EndpointName=given.name, EndpointConfigName=version)
    else:
        sagemaker.create_endpoint(EndpointName=given.name, EndpointConfigName=version)


def capture_config(given: argparse.Namespace) -> dict[str, Any]:
    """Questions and answers to S3. The types that are not named here as JSON are kept in base64, as photos must be."""
    return {
        "EnableCapture": True,
        "InitialSamplingPercentage": given.capture_percent,
        "DestinationS3Uri": given.capture_to,
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
    }


def exists(sagemaker: Any, endpoint: str) -> bool:
    """Whether there is such an endpoint; names are searched by what they contain."""
    pages = sagemaker.get_paginator("list_endpoints").paginate(NameContains=endpoint)
    return any(found["EndpointName"] == endpoint for page in pages for found in page["Endpoints"])


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    take = argparse.ArgumentParser(description="Puts the image and a bundle on a SageMaker endpoint.")
    take.add_argument("--name", required=True, help="the endpoint's name")
    take.add_argument("--image", required=True, help="the image in ECR")
    take.add_argument("--role", required=True, help="ARN of the role that reads the bundle and writes captures")
    take.add_argument("--model-data", help="s3://.../model.tar.gz with a bundle's files (else the one in the image)")
    take.add_argument("--instance", default="ml.c6i.large", help="instance type (default: %(default)s)")
    take.add_argument("--instances", type=int, default=1, help="how many (default: %(default)s)")
    take.add_argument("--capture-to", help="s3://... where questions and answers are captured")
    take.add_argument("--capture-percent", type=int, default=20, help="of requests (default: %(default)s)")
    take.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="environment of the container")
    take.add_argument("--region", help="AWS region (default: as boto3 finds it)")
    take.add_argument("--wait", action="store_true", help="return only when the endpoint is in service")
    return take


if __name__ == "__main__":
    main()
