"""Fisher information and Gram matrices against the formulas written out, and `fuse` that computes them itself."""

import numpy as np
import pytest
import torch
from torch.func import functional_call, jacrev

from tests_colours import placeholder
