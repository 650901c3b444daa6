"""The router: which relay is closed when, planned for a whole block without any I/O."""
