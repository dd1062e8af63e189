"""The layout of stored send streams, pure: keys, receipts, journals, seekable compression."""
