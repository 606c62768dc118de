"""From a request to stored records: prepare, execute, calibrate, forecast."""
