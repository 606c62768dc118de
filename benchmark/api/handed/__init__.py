"""How what people hand in is read: folders and tables of images, one reading or a refusal."""
