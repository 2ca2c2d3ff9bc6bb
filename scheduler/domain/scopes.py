"""What API keys may do; light, for the command line knows it too."""

from enum import StrEnum


class Scope(StrEnum):
    """What a key may do."""

    JOBS_READ = "jobs:read"  # see jobs, their items and results
    JOBS_WRITE = "jobs:write"  # submit and steer jobs, upload photos
    STYLES_READ = "styles:read"  # see styles, runs and their files
    STYLES_TRAIN = "styles:train"  # train, import, publish and delete styles, upload photos
    KEYS_WRITE = "keys:write"  # manage the keys of the own tenant
    ADMIN = "admin"  # manage the keys of all tenants, and the tenants
