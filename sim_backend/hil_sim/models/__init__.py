"""Device models: what a device file says, its equations with sources and units, and conversions."""
