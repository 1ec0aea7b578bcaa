"""Bins rendered by the project in ABID's layout: the embedded sample, the tests' photos and the demo.

    settings.py   the knobs, each with its range
    scene.py      what is in a bin, where it stands, how that changes from one photo to the next
    wares.py      products that do not exist: names, sizes, colours
    sprites.py    what a box, a book, a bag, a bottle looks like
    draw.py       a scene as pixels: cell, items, lips, bands, light, lens
    stock.py      what the stock system believes: ABID's metadata, wrong at a known rate
    source.py     a folder laid out like the bucket, rendered on all cores

Every photo follows from `(seed, bin, time)` alone: 100 photos are the first 100 of 200, drawn by one process or many.
"""

from bintally.data.rendered.settings import RenderSettings as RenderSettings
from bintally.data.rendered.source import BinPhoto as BinPhoto
from bintally.data.rendered.source import render_bin as render_bin
from bintally.data.rendered.source import render_photo as render_photo
from bintally.data.rendered.source import render_source as render_source
