#include "container/safetensors.h"
