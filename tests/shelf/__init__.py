"""What shelves promise, tested on each of them."""
