"""AWS Lambda: `bintally.serving.aws_lambda.handler` counts photos from API Gateway, URLs, S3 and calls."""

from bintally.serving.aws_lambda.function import handler as handler
