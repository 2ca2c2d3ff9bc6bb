"""Networks at work: photos in, stylized photos out."""
