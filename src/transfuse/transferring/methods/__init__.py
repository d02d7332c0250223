"""The methods of transfer, one file each."""
