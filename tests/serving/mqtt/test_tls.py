from pathlib import Path

import pytest
import trustme

from bintally.counting.counter import Counter
from tests.serving.mqtt.brokers import Mosquitto, Robot, wait_until
from tests.serving.mqtt.doors import serving


# paho leaves the socket of a handshake that failed to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_broker_is_reached_over_tls_only_with_a_certificate_that_is_trusted(
    counter: Counter, tmp_path: Path, robot: Robot, broker: Mosquitto
) -> None:
    folder = tmp_path / "tls"
    folder.mkdir()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(folder / "broker.pem"))
    secured = Mosquitto(folder, "allow_anonymous true", f"certfile {folder}/broker.pem", f"keyfile {folder}/broker.pem")
    secured.start()
    url = secured.url.replace("mqtt://", "mqtts://")
    try:
        with serving(counter, tmp_path / "a", f"{url}?ca={folder}/ca.pem") as trusting:
            wait_until(lambda: "mqtt" not in trusting.failures, "for the connection")
        with serving(counter, tmp_path / "b", url) as wary:
            wait_until(lambda: "CERTIFICATE_VERIFY_FAILED" in wary.failures.get("mqtt", ""), "for the refusal")
    finally:
        secured.stop()
