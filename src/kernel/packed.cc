#include "kernel/packed.h"
