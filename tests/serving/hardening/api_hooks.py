"""What schemathesis sends where the API takes a photo."""

import schemathesis
from hypothesis import strategies as st

from tests.bundles import bin_photo

PHOTOS = {f"image/{name.lower()}": bin_photo(3, image_format=name) for name in ("JPEG", "PNG", "WEBP")}

for kind, photo in PHOTOS.items():
    schemathesis.openapi.media_type(kind, st.just(photo) | st.binary(max_size=200))
