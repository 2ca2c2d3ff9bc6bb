"""Jobs on processes from the container images while those processes are stopped and killed."""
