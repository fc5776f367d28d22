"""The shipped provider definitions, one file each, found by `voxplane.registry`."""
