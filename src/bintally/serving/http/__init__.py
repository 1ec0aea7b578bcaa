"""The HTTP doors: our own API, SageMaker's contract, the Open Inference Protocol, the page."""
