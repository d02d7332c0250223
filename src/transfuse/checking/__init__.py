"""What is wrong with labelled data: found, shown, and mended only as the user says."""
