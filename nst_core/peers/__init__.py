"""Networks that others trained, as networks of ours: `python -m nst_core.peers FILE -o style.safetensors`."""
