"""Networks for pictures: timm, and pictures as they take them."""
