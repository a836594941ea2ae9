"""What the shipped jobs are made of: mail, pictures, paths, signatures, guarded connections."""
