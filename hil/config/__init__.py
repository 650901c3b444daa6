"""Files that people write: TOML with text quantities, strict schemas, errors with file and line."""
