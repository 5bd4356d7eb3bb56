"""Bytes -> pixels: headers, the one decoder, sketches and quality of images."""
