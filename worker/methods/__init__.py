"""The methods of stylizing photos, a package each."""
