"""One loss a file: what a student owes its teacher."""
