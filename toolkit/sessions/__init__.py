"""A model file -> `run(batch)`, whatever the runtime and the device."""
