from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from bintally.counting.counter import Counter
from tests.bundles import bin_photo, no_bin_pixels
from tests.serving.services import client_of


def samples_of(text: str) -> dict[tuple[str, ...], float]:
    """By name and label values, in the order of the labels' names."""
    return {
        (sample.name, *(sample.labels[key] for key in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_count_what_was_asked_and_answered(counter: Counter, tmp_path: Path) -> None:
    photo = bin_photo(2)
    png = {"Content-Type": "image/png"}
    with client_of(counter, capture=100, state=tmp_path) as client:
        for _ in range(3):
            client.post("/invocations", content=photo, headers=png)
        client.post("/invocations", content=b"no photo", headers=png)
        client.post("/invocations", content=photo, headers={"Content-Type": "text/plain"})
        client.get("/no/such/path")
        response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = samples_of(response.text)
    assert found["bintally_requests_total", "sagemaker", "ok"] == 3
    assert found["bintally_requests_total", "sagemaker", "bad_photo"] == 1
    assert found["bintally_request_seconds_count", "sagemaker"] == 4
    assert found["bintally_counts_total", "2"] == 3
    assert found["bintally_photo_bytes_total",] == 3 * len(photo) + len(b"no photo")
    assert found["bintally_http_requests_total", "POST", "/invocations", "200"] == 3
    assert found["bintally_http_requests_total", "POST", "/invocations", "415"] == 1
    assert found["bintally_http_requests_total", "GET", "none", "404"] == 1
    assert found["bintally_request_photos_count",] == 4
    for part in ("count", "decode", "inference", "capture"):
        assert found["bintally_part_seconds_count", part] == 3
    assert found["bintally_model_info", "tiny", counter.card.model_sha256, "0.1.0"] == 1
    assert found["bintally_batches_total", "1"] == 3
    assert found["bintally_ready",] == 1
    assert found["bintally_under_way",] == 0
    assert found["bintally_resident_bytes",] > 10**6


def test_photos_that_are_no_bins_and_parts_that_fail_are_told(counter: Counter) -> None:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(no_bin_pixels()).save(file, "PNG")
    with client_of(counter) as client:
        client.post("/invocations", content=file.getvalue(), headers={"Content-Type": "image/png"})
        failures = client.app.state.reloading._service.failures  # type: ignore[attr-defined]
        failures["ledger"] = "It is away."
        assert samples_of(client.get("/metrics").text)["bintally_problem", "ledger"] == 1
        del failures["ledger"]
        found = samples_of(client.get("/metrics").text)
    assert found["bintally_problem", "ledger"] == 0
    assert found["bintally_abstentions_total",] == 1


def test_a_method_or_path_that_somebody_made_up_makes_no_label(counter: Counter) -> None:
    with client_of(counter) as client:
        client.request("BREW", "/coffee/1")
        client.request("BREW", "/coffee/2")
        found = samples_of(client.get("/metrics").text)
    assert [key[1:3] for key in found if key[0] == "bintally_http_requests_total"] == [("other", "none")]
