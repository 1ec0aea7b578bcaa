"""Exit code 0 where the service in this container should get requests: the image has no curl."""

import os
import ssl
import sys
import urllib.request


def main() -> None:
    """Asks `/health/ready` on this machine, as one of the names the service is asked by."""
    port = os.environ.get("SAGEMAKER_BIND_TO_PORT") or os.environ.get("BINTALLY_SERVE_PORT") or "8080"
    scheme = "https" if os.environ.get("BINTALLY_SERVE_TLS_CERT") else "http"
    host = os.environ.get("BINTALLY_SERVE_ALLOW_HOST", "").partition(",")[0].strip() or "localhost"
    request = urllib.request.Request(f"{scheme}://127.0.0.1:{port}/health/ready", headers={"Host": host})  # noqa: S310
    # The certificate has the service's public name, not this machine's; nothing is told but that we ask.
    unverified = ssl._create_unverified_context()  # noqa: S323
    try:
        with urllib.request.urlopen(request, timeout=4, context=unverified):  # noqa: S310
            return
    except OSError as error:
        sys.exit(f"not ready: {error}")


if __name__ == "__main__":
    main()
