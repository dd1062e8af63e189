"""Side-by-side benchmarks: ButterSink against the plain tool one would run in its place.

`python -m bench` runs them all, as root; docs/benchmarks.md says what each figure means.
"""
