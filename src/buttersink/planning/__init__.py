"""Facts in, plan out: which streams to send or keep, and where snapshots go. Pure."""
