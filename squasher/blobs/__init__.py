"""Bytes: content that can be read again, temporary files, compression."""
