"""Writes the pictures of this folder, kinds of JPEG that Rust's `image` crate cannot write. Made with Pillow 13.0.0.

cmyk.jpg     16 x 8, CMYK with the Adobe marker; Pillow's RGB: left (55, 215, 245), right (187, 172, 27)
rotated.jpg  16 x 8 as stored, left red, right blue, EXIF orientation 6: to be shown 8 x 16, red above blue
"""

from pathlib import Path

from PIL import Image

here = Path(__file__).parent

image = Image.new("CMYK", (16, 8), (200, 40, 10, 0))
image.paste((10, 30, 220, 60), (8, 0, 16, 8))
image.save(here / "cmyk.jpg", quality=95)

image = Image.new("RGB", (16, 8), (255, 0, 0))
image.paste((0, 0, 255), (8, 0, 16, 8))
exif = Image.Exif()
exif[0x0112] = 6
image.save(here / "rotated.jpg", quality=90, exif=exif)
