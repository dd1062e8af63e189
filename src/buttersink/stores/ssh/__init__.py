"""Ends on other hosts: the ssh program, the server it starts there, and what both say."""
