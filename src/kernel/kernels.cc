#include "kernel/kernels.h"
