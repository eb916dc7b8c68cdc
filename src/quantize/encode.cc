#include "quantize/encode.h"
