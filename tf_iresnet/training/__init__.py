"""From a config and a workdir to a trained, certified and reported flow."""
