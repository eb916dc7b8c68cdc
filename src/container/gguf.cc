#include "container/gguf.h"
