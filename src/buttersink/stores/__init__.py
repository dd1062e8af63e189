"""The ends that snapshots can be read from and put into, each a `store.Source` or `store.Sink`."""
