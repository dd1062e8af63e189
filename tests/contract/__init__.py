"""The promises of the store interface, and the worlds in which they are tested."""
