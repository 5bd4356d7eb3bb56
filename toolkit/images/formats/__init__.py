"""The formats of image files, one module a family: what their first bytes say, without a pixel decoded.

Every reader reads as the decoder behind it does (of two equal TIFF tags the first, `FF 00` is not a JPEG marker),
trusts no length that the file does not hold, and takes time in proportion to the bytes at most.
"""
