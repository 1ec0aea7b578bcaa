"""Events as AWS documents them, with a photo in each; and an invocation's context."""

import base64
from typing import Any


class Context:
    """What Lambda tells of an invocation."""

    def __init__(self, left_ms: int = 20_000) -> None:
        self.aws_request_id = "8f5ad3a4-6e6e-4e0a-9c0d-2b4a5c3f5f10"
        self._left_ms = left_ms

    def get_remaining_time_in_millis(self) -> int:
        return self._left_ms


def rest(photo: bytes, *, content_type: str = "image/jpeg", **more: Any) -> dict[str, Any]:
    """API Gateway, a REST API: https://docs.aws.amazon.com/lambda/latest/dg/services-apigateway.html"""
    return {
        "resource": "/v1/counts",
        "path": "/v1/counts",
        "httpMethod": "POST",
        "headers": {"Content-Type": content_type, "Host": "id.execute-api.eu-central-1.amazonaws.com"},
        "multiValueHeaders": {"Content-Type": [content_type]},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "id",
            "httpMethod": "POST",
            "identity": {"apiKeyId": "k3yid", "sourceIp": "192.0.2.7", "userArn": None},
            "path": "/live/v1/counts",
            "protocol": "HTTP/1.1",
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
            "stage": "live",
        },
        "body": base64.b64encode(photo).decode(),
        "isBase64Encoded": True,
        **more,
    }


def http_api(photo: bytes, *, content_type: str = "image/jpeg", **more: Any) -> dict[str, Any]:
    """API Gateway, an HTTP API with payload 2.0 (and a function URL, which sends the same):
    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
    """
    return {
        "version": "2.0",
        "routeKey": "POST /v1/counts",
        "rawPath": "/v1/counts",
        "rawQueryString": "",
        "headers": {"content-type": content_type, "content-length": str(len(photo))},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "id",
            "http": {"method": "POST", "path": "/v1/counts", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.7"},
            "requestId": "id",
            "routeKey": "POST /v1/counts",
            "stage": "$default",
            "timeEpoch": 1583348638390,
        },
        "body": base64.b64encode(photo).decode(),
        "isBase64Encoded": True,
        **more,
    }


def stored(bucket: str, *keys: str, sequencer: str = "0055AED6DCD90281E5") -> dict[str, Any]:
    """S3's notification: https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html"""
    return {
        "Records": [
            {
                "eventVersion": "2.1",
                "eventSource": "aws:s3",
                "awsRegion": "eu-central-1",
                "eventTime": "2026-01-31T12:00:00.000Z",
                "eventName": "ObjectCreated:Put",
                "s3": {
                    "s3SchemaVersion": "1.0",
                    "configurationId": "photos",
                    "bucket": {"name": bucket, "arn": f"arn:aws:s3:::{bucket}"},
                    "object": {
                        "key": key,
                        "size": 1024,
                        "eTag": "0123456789abcdef0123456789abcdef",
                        "sequencer": sequencer,
                    },
                },
            }
            for key in keys
        ]
    }
