"""One run spread over many: shards, parts in a folder, workers on other machines."""
